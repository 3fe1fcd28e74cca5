//! Joins through other servers that mean well, or do not answer.

use rooms::{Error, ports::RemoteError};
use serde_json::json;

use super::{JOIN, VERSIONS, asked, join_via, knows, public_room};
use crate::{
    wire::Wire,
    world::{World, join_request},
};

fn call(call: &'static str, server: &str) -> (&'static str, String) {
    (call, server.to_owned())
}

#[tokio::test]
async fn a_room_of_any_version_is_joined_through_a_server_that_is_in_it() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap_or_else(|error| {
            panic!("version {version}: {error}");
        });
        for world in [&one, &two] {
            assert_eq!(world.membership(&bob, &room).await, JOIN, "version {version}");
            assert_eq!(world.membership(&ada, &room).await, JOIN, "version {version}");
        }
        let theirs = one.rooms.room(&room).await.unwrap().unwrap();
        let ours = two.rooms.room(&room).await.unwrap().unwrap();
        assert_eq!(theirs.state, ours.state, "version {version}");
        assert_eq!(theirs.servers, ours.servers, "version {version}");
        assert_eq!((ours.joined_members, ours.version.as_str()), (2, version));

        let hello = two.send(&bob, &room, "hello").await.unwrap();
        let reply = one.send(&ada, &room, "reply").await.unwrap();
        wire.deliver(&[&one, &two]).await;
        for (world, viewer) in [(&one, &ada), (&two, &bob)] {
            for event in [&hello, &reply] {
                world.rooms.event(viewer, &room, event).await.expect("both see both");
            }
        }
    }
}

#[tokio::test]
async fn servers_that_are_down_or_not_in_the_room_are_passed_over() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let _knows_nothing = wire.server("three.test");
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    let via = ["dead.test", "three.test", "two.test", "dead.test", "one.test"];
    join_via(&two, &bob, &room, &via).await.unwrap();
    let calls = [
        call("make", "dead.test"),
        call("make", "three.test"),
        call("make", "one.test"),
        call("send_join", "one.test"),
    ];
    assert_eq!(asked(&wire), calls, "each is asked once, and a server does not ask itself");
}

#[tokio::test]
async fn a_join_that_nobody_answers_says_why_and_leaves_nothing() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "12").await;
    let nobody = join_via(&two, &bob, &room, &[]).await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "a version 12 id names no server");
    wire.set_down("one.test", true);
    let unreachable = join_via(&two, &bob, &room, &["one.test", "dead.test"]).await;
    assert!(matches!(unreachable, Err(Error::Remote(RemoteError::Unreachable { .. }))));
    wire.set_down("one.test", false);
    let rule = json!({ "join_rule": "invite" });
    one.set(&ada, &room, "m.room.join_rules", "", rule).await.unwrap();
    let refused = join_via(&two, &bob, &room, &["one.test", "dead.test"]).await;
    let Err(Error::Remote(RemoteError::Refused { errcode, .. })) = refused else {
        panic!("the refusal counts for more than the server that is down: {refused:?}");
    };
    assert_eq!(errcode, "M_FORBIDDEN");
    assert!(!knows(&two, &room, &bob).await);
}

#[tokio::test]
async fn no_more_than_ten_servers_are_asked() {
    let wire = Wire::default();
    let two = wire.server("two.test");
    let bob = two.user("bob");
    let via: Vec<String> = (0..40).map(|n| format!("dead{n}.test")).collect();
    let via: Vec<&str> = via.iter().map(String::as_str).collect();
    let room = ruma::room_id!("!nowhere:one.test");
    assert!(join_via(&two, &bob, room, &via).await.is_err());
    assert_eq!(asked(&wire).len(), 10);
}

#[tokio::test]
async fn the_server_in_the_id_of_a_room_is_asked_without_being_named() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "10").await;
    two.join(&bob, &room).await.unwrap();
    assert_eq!(two.membership(&bob, &room).await, JOIN);
}

#[tokio::test]
async fn users_who_join_at_once_share_one_join_through_another_server() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    let via = ["one.test"];
    let joined = tokio::join!(
        join_via(&two, &bob, &room, &via),
        join_via(&two, &eve, &room, &via),
        join_via(&two, &bob, &room, &via),
    );
    joined.0.and(joined.1).and(joined.2).unwrap();
    assert_eq!((wire.count("make"), wire.count("send_join")), (1, 1));
    wire.deliver(&[&one, &two]).await;
    for world in [&one, &two] {
        let view = world.rooms.room(&room).await.unwrap().unwrap();
        assert_eq!(view.joined_members, 3, "on {}", world.server);
    }
}

#[tokio::test]
async fn a_join_that_ends_half_way_leaves_nothing_and_can_be_done_again() {
    for gate in ["make", "send_join"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, "11").await;
        let gate = wire.gate(gate);
        tokio::select! {
            joined = join_via(&two, &bob, &room, &["one.test"]) => panic!("{joined:?}"),
            reached = gate.reached.acquire() => reached.unwrap().forget(),
        }
        wire.lift_gates();
        let two = wire.restarted(&two);
        assert!(!knows(&two, &room, &bob).await);
        assert!(two.rooms.rooms_of(&bob).await.unwrap().is_empty());
        join_via(&two, &bob, &room, &["one.test"]).await.expect("the second time");
        for world in [&one, &two] {
            assert_eq!(world.membership(&bob, &room).await, JOIN);
        }
        let views = (one.rooms.room(&room).await, two.rooms.room(&room).await);
        assert_eq!(views.0.unwrap().unwrap().state, views.1.unwrap().unwrap().state);
    }
}

/// The resident server sends what happens from the moment that it took the join.
#[tokio::test]
async fn what_happens_while_a_room_is_being_joined_is_not_missed() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    let gate = wire.gate("send_join");
    let meanwhile = async {
        gate.reached.acquire().await.unwrap().forget();
        let event = one.send(&ada, &room, "welcome").await.unwrap();
        let worlds = [&one, &two];
        tokio::join!(wire.deliver(&worlds), async {
            tokio::task::yield_now().await;
            wire.lift_gates();
        });
        event
    };
    let (joined, event) = tokio::join!(join_via(&two, &bob, &room, &["one.test"]), meanwhile);
    joined.unwrap();
    two.rooms.event(&bob, &room, &event).await.expect("it arrived");
}

#[tokio::test]
async fn a_room_that_all_local_users_left_is_joined_anew() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    two.rooms.leave(&room, &bob, None).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    // Nobody tells two.test of this.
    one.set(&ada, &room, "m.room.topic", "", json!({ "topic": "later" })).await.unwrap();
    one.rooms.ban(crate::world::change(&ada, &room, &bob)).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let topic = || async { two.current(&room, "m.room.topic", "").await };
    assert_eq!(topic().await, None);

    join_via(&two, &eve, &room, &["one.test"]).await.unwrap();
    assert_eq!(topic().await, Some(json!({ "topic": "later" })));
    let ban = Some(ruma::events::room::member::MembershipState::Ban);
    assert_eq!(two.membership(&bob, &room).await, ban);
    let (theirs, ours) = (one.rooms.room(&room).await, two.rooms.room(&room).await);
    let (theirs, ours) = (theirs.unwrap().unwrap(), ours.unwrap().unwrap());
    assert_eq!(theirs.state, ours.state);
    assert_eq!((theirs.joined_members, &theirs.servers), (ours.joined_members, &ours.servers));
    assert_eq!(*ours.local_joined, std::collections::BTreeSet::from([eve]));
}

#[tokio::test]
async fn a_guest_does_not_join_where_nobody_knows_whether_guests_may() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, guest) = (one.user("ada"), two.user("guest"));
    let room = public_room(&one, &ada, "11").await;
    let request = rooms::JoinRequest {
        guest: true,
        via: vec![crate::wire::name("one.test")],
        ..join_request(&guest, &room)
    };
    assert!(matches!(two.rooms.join(request).await, Err(Error::GuestsForbidden)));
    assert_eq!(asked(&wire), [call("hierarchy", "one.test")]);
    assert_eq!(one.membership(&guest, &room).await, None);
}

#[tokio::test]
async fn a_guest_joins_where_a_server_in_the_room_says_that_guests_may() {
    for changes_its_mind in [false, true] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, guest) = (one.user("ada"), two.user("guest"));
        let room = public_room(&one, &ada, "11").await;
        let set = async |access: &str| {
            let content = json!({ "guest_access": access });
            one.set(&ada, &room, "m.room.guest_access", "", content).await.unwrap();
        };
        set("can_join").await;
        let gate = wire.gate("hierarchy");
        let request = rooms::JoinRequest {
            guest: true,
            via: vec![crate::wire::name("one.test")],
            ..join_request(&guest, &room)
        };
        let (joined, ()) = tokio::join!(two.rooms.join(request), async {
            gate.reached.acquire().await.unwrap().forget();
            if changes_its_mind {
                set("forbidden").await;
            }
            gate.open.add_permits(1);
        });
        // The state, which comes with the join, counts for more.
        match changes_its_mind {
            true => assert!(matches!(joined, Err(Error::GuestsForbidden)), "{joined:?}"),
            false => assert!(joined.is_ok(), "{joined:?}"),
        }
        wire.lift_gates();
        wire.deliver(&[&one, &two]).await;
        for world in [&one, &two] {
            let is_in = world.membership(&guest, &room).await == JOIN;
            assert_eq!(is_in, !changes_its_mind, "on {}", world.server);
        }
    }
}

/// A room that may be joined by those who are in `lobby`.
async fn restricted_room(world: &World, version: &str) -> (ruma::OwnedRoomId, ruma::OwnedRoomId) {
    let ada = world.user("ada");
    let lobby = public_room(world, &ada, version).await;
    let room = public_room(world, &ada, version).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
    let rule = json!({ "join_rule": "restricted", "allow": allow });
    world.set(&ada, &room, "m.room.join_rules", "", rule).await.unwrap();
    (lobby, room)
}

#[tokio::test]
async fn a_restricted_room_is_joined_with_the_word_of_a_server_in_it() {
    for version in ["8", "10", "12"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (bob, eve) = (two.user("bob"), two.user("eve"));
        let (lobby, room) = restricted_room(&one, version).await;
        let via = ["one.test"];
        let refused = join_via(&two, &bob, &room, &via).await;
        assert!(matches!(refused, Err(Error::Remote(RemoteError::Refused { .. }))));
        for user in [&bob, &eve] {
            join_via(&two, user, &lobby, &via).await.unwrap();
            wire.deliver(&[&one, &two]).await;
            // The second time two.test is in the room, and nobody there may invite.
            join_via(&two, user, &room, &via).await.unwrap_or_else(|error| {
                panic!("version {version}, {user}: {error}");
            });
            for world in [&one, &two] {
                assert_eq!(world.membership(user, &room).await, JOIN, "version {version}");
            }
            let view = two.rooms.room(&room).await.unwrap().unwrap();
            let member = two.rooms.state_get(view.state, "m.room.member", user.as_str()).await;
            let member = member.unwrap().unwrap();
            let servers = events::required_servers(&member.pdu, view.version);
            assert_eq!(servers.len(), 2, "the resident server signed too");
        }
        let views = (one.rooms.room(&room).await, two.rooms.room(&room).await);
        assert_eq!(views.0.unwrap().unwrap().state, views.1.unwrap().unwrap().state);
    }
}

#[tokio::test]
async fn one_server_of_many_can_be_joined_through_whichever_answers() {
    let wire = Wire::default();
    let worlds: Vec<World> = (0..4).map(|n| wire.server(&format!("s{n}.test"))).collect();
    let creator = worlds[0].user("ada");
    let room = public_room(&worlds[0], &creator, "12").await;
    for n in 1..4 {
        let user = worlds[n].user("u");
        join_via(&worlds[n], &user, &room, &[&format!("s{}.test", n - 1)]).await.unwrap();
        wire.deliver(&worlds.iter().collect::<Vec<_>>()).await;
    }
    let states: Vec<_> = {
        let mut states = Vec::new();
        for world in &worlds {
            let view = world.rooms.room(&room).await.unwrap().unwrap();
            assert_eq!((view.joined_members, view.servers.len()), (4, 4), "on {}", world.server);
            states.push(view.state);
        }
        states
    };
    assert!(states.iter().all(|state| *state == states[0]));
}
