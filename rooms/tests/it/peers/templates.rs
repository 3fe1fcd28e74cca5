//! Templates: `make_join`, `make_leave`, `make_knock`.

use rooms::{Error, peers::Made, ports::Handshake};
use ruma::{OwnedRoomId, UserId};
use serde_json::{Value, json};

use super::{come_in, is_refused, public, room_of, snapshot};
use crate::{
    wire::{Wire, name},
    world::{World, change},
};

const ALL: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

async fn ask(
    world: &World,
    server: &str,
    handshake: Handshake,
    room: &OwnedRoomId,
    user: &UserId,
) -> Result<Made, Error> {
    let versions = ALL.map(str::to_owned);
    world.rooms.peer_make(&name(server), handshake, room, user, &versions).await
}

fn event(made: &Made) -> Value {
    serde_json::from_str(made.event.get()).expect("JSON")
}

#[tokio::test]
async fn a_template_is_an_event_of_the_room_without_proof_that_it_is_one() {
    for version in ALL {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let open = public(&one, &ada, version).await;
        let knockable = room_of(&one, &ada, version, json!({ "join_rule": "knock" })).await;
        let mut asked = vec![(Handshake::Join, "join", &open)];
        if version.parse::<u8>().unwrap() >= 7 {
            asked.push((Handshake::Knock, "knock", &knockable));
        }
        come_in(&two, &two.user("eve"), &open, &one).await;
        let leaving = (Handshake::Leave, "leave", &open);
        for (handshake, membership, room) in asked.into_iter().chain([leaving]) {
            let user = if membership == "leave" { two.user("eve") } else { bob.clone() };
            let before = snapshot(&one, room).await;
            let made = ask(&one, "two.test", handshake, room, &user).await.unwrap();
            assert_eq!(made.room_version, version);
            let event = event(&made);
            let fields = ["type", "room_id", "sender", "state_key"].map(|key| event[key].as_str());
            let expected = ["m.room.member", room.as_str(), user.as_str(), user.as_str()];
            assert_eq!(fields, expected.map(Some), "{membership} in version {version}");
            assert_eq!(event["content"], json!({ "membership": membership }));
            for key in ["hashes", "signatures", "event_id"] {
                assert!(event.get(key).is_none(), "{key} in version {version}");
            }
            assert_eq!(event["prev_events"].as_array().unwrap().len(), 1);
            assert!(event["depth"].as_u64().unwrap() > 1);
            assert_eq!(snapshot(&one, room).await, before, "nothing has happened");
        }
        let refused = ask(&one, "two.test", Handshake::Knock, &open, &bob).await;
        assert!(is_refused(&refused), "nobody knocks at an open door, version {version}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_the_version_is_told_which_it_is() {
    let wire = Wire::default();
    let one = wire.server("one.test");
    let room = public(&one, &one.user("ada"), "12").await;
    let (two, user) = (name("two.test"), ruma::user_id!("@bob:two.test"));
    for versions in [vec![], vec!["1".to_owned()], vec!["11".to_owned(), "org.x".to_owned()]] {
        let made = one.rooms.peer_make(&two, Handshake::Join, &room, user, &versions).await;
        let Err(Error::IncompatibleRoomVersion(version)) = made else { panic!("{made:?}") };
        assert_eq!(version, "12");
    }
}

#[tokio::test]
async fn templates_are_for_users_of_the_server_that_asks_and_may_do_so() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let three = wire.server("three.test");
    let open = public(&one, &ada, "11").await;
    let closed = room_of(&one, &ada, "11", json!({ "join_rule": "invite" })).await;
    let knockable = room_of(&one, &ada, "11", json!({ "join_rule": "knock" })).await;
    let denying = public(&one, &ada, "11").await;
    let acl = json!({ "allow": ["*"], "deny": ["two.test"] });
    one.set(&ada, &denying, "m.room.server_acl", "", acl).await.unwrap();
    for room in [&open, &closed, &knockable] {
        one.rooms.ban(change(&ada, room, &eve)).await.unwrap();
    }
    let left = public(&one, &ada, "11").await;
    come_in(&two, &bob, &left, &one).await;
    one.rooms.leave(&left, &ada, None).await.unwrap();
    let nowhere = ruma::room_id!("!nowhere:one.test").to_owned();
    let (join, leave, knock) = (Handshake::Join, Handshake::Leave, Handshake::Knock);
    let table = [
        ("a user of another server", "three.test", join, &open, &bob),
        ("a user of another server", "three.test", leave, &left, &bob),
        ("a user of another server", "three.test", knock, &knockable, &bob),
        ("a user of ours", "two.test", join, &open, &ada),
        ("a user of ours", "two.test", leave, &open, &ada),
        ("a user of ours", "two.test", knock, &knockable, &one.user("eve")),
        ("a banned user", "two.test", join, &open, &eve),
        ("a banned user", "two.test", leave, &open, &eve),
        ("a banned user", "two.test", knock, &knockable, &eve),
        ("nobody's guest", "two.test", join, &closed, &bob),
        ("nobody's guest", "two.test", join, &knockable, &bob),
        ("nobody's guest", "two.test", knock, &closed, &bob),
        ("one who is not in the room", "two.test", leave, &open, &bob),
        ("a denied server", "two.test", join, &denying, &bob),
        ("a denied server", "two.test", leave, &denying, &bob),
        ("a denied server", "two.test", knock, &denying, &bob),
        ("a room that we left", "two.test", join, &left, &bob),
        ("a room that we left", "two.test", leave, &left, &bob),
        ("no room", "two.test", join, &nowhere, &bob),
        ("no room", "two.test", leave, &nowhere, &bob),
        ("no room", "two.test", knock, &nowhere, &bob),
    ];
    for (what, server, handshake, room, user) in table {
        let made = ask(&one, server, handshake, room, user).await;
        assert!(is_refused(&made), "{what}, {handshake:?}: {made:?}");
    }
    let invited = three.user("bob");
    one.invite(&ada, &closed, &invited).await.unwrap();
    ask(&one, "three.test", join, &closed, &invited).await.expect("who is invited may come");
    ask(&one, "three.test", leave, &closed, &invited).await.expect("or say no");
}

/// Restricted rooms: who vouches, and what a server says that cannot tell.
#[tokio::test]
async fn a_restricted_join_names_a_user_of_ours_who_may_invite() {
    for (version, rule) in [("8", "restricted"), ("10", "knock_restricted"), ("12", "restricted")] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
        let lobby = public(&one, &ada, version).await;
        let unknown = ruma::room_id!("!elsewhere:three.test");
        let to = |room: &ruma::RoomId| json!({ "type": "m.room_membership", "room_id": room });
        let restricted = async |allow: Vec<Value>| {
            room_of(&one, &ada, version, json!({ "join_rule": rule, "allow": allow })).await
        };
        let room = restricted(vec![to(&lobby), to(unknown)]).await;
        let only_unknown = restricted(vec![to(unknown)]).await;
        let only_lobby = restricted(vec![to(&lobby)]).await;
        come_in(&two, &bob, &lobby, &one).await;

        let made = ask(&one, "two.test", Handshake::Join, &room, &bob).await.unwrap();
        let authoriser = &event(&made)["content"]["join_authorised_via_users_server"];
        assert_eq!(authoriser, ada.as_str(), "version {version}");
        let join = async |room, user| ask(&one, "two.test", Handshake::Join, room, user).await;
        let outside = join(&only_lobby, &eve).await;
        assert!(matches!(outside, Err(Error::Forbidden(_))), "{outside:?}");
        // One of the rooms might let the user in, but this server cannot look there.
        for room in [&room, &only_unknown] {
            let unsure = join(room, &eve).await;
            assert!(matches!(unsure, Err(Error::UnableToAuthoriseJoin)), "{unsure:?}");
        }
        let powerless = one.user("powerless");
        one.invite(&ada, &room, &powerless).await.unwrap();
        one.join(&powerless, &room).await.unwrap();
        if version != "12" {
            let levels = json!({ "users": { ada.as_str(): 100 }, "invite": 50 });
            one.set(&ada, &room, "m.room.power_levels", "", levels).await.unwrap();
            one.rooms.leave(&room, &ada, None).await.unwrap();
            let unable = join(&room, &bob).await;
            assert!(matches!(unable, Err(Error::UnableToGrantJoin)), "{unable:?}");
        }
    }
}
