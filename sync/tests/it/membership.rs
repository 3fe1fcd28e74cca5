//! Coming, going, and being made to go.

use ::events::{EventTemplate, RoomVersion};
use rooms::{KnockRequest, Preset, Profile, peers::IncomingInvite};
use ruma::{EventId, OwnedRoomId, RoomId, UserId};
use serde_json::{json, value::to_raw_value};

use crate::world::{
    Ask, Elsewhere, World, bodies, change, events, ids, is_empty, joined, keys, left, of_type,
    token_of,
};

#[tokio::test]
async fn an_invitation_comes_with_what_lets_one_decide() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.room(&ada, Preset::PrivateChat).await;
    world.event(&room, &ada, "m.room.name", Some(""), &json!({"name": "Room"})).await;
    let since = world.token(&ben).await;
    world.invite(&room, &ada, &ben).await;
    let answer = world.next(&ben, &since).await;
    let invite = &answer["rooms"]["invite"][room.as_str()];
    let state = keys(invite, "invite_state");
    for expected in
        ["m.room.create|".to_owned(), "m.room.name|".to_owned(), format!("m.room.member|{ben}")]
    {
        assert!(state.contains(&expected), "{expected} in {state:?}");
    }
    let create = of_type(events(invite, "invite_state"), "m.room.create").expect("create");
    assert_eq!(create["content"]["room_version"], "12");
    // Once is enough; an initial sync has it as well.
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    let initial = world.initial(&ben).await;
    assert!(initial["rooms"]["invite"][room.as_str()].is_object());
}

#[tokio::test]
async fn a_rejected_or_revoked_invitation_is_left_and_shows_nothing_of_the_room() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.room(&ada, Preset::PrivateChat).await;
    world.say(&room, &ada, "secret").await;
    for revoke in [false, true] {
        world.invite(&room, &ada, &ben).await;
        let since = world.token(&ben).await;
        world.say(&room, &ada, "secret").await;
        if revoke {
            world.rooms.kick(change(&room, &ada, &ben)).await.expect("ada may kick");
        } else {
            world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
        }
        let answer = world.next(&ben, &since).await;
        let told = left(&answer, &room);
        assert_eq!(keys(told, "timeline"), [format!("m.room.member|{ben}")]);
        assert!(!answer.to_string().contains("secret"), "{answer}");
        assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    }
}

/// An invite to `!there:there.test`.
async fn invite_from_elsewhere(world: &World, user: &UserId) -> OwnedRoomId {
    let room = RoomId::parse("!there:there.test").expect("a room id");
    let sender = UserId::parse("@eve:there.test").expect("a user id");
    let content = to_raw_value(&json!({ "membership": "invite" })).expect("JSON");
    let before = [EventId::parse(format!("${}", "A".repeat(43))).expect("an event id")];
    let template = EventTemplate {
        room_id: Some(&room),
        sender: &sender,
        event_type: "m.room.member",
        state_key: Some(user.as_str()),
        content: &content,
        prev_events: &before,
        auth_events: &before,
        depth: 5,
        origin_server_ts: 1_700_000_000_000,
        redacts: None,
    };
    let version = RoomVersion::parse("10").expect("a version");
    let server = sender.server_name();
    let pdu = ::events::sign_and_build(&template, &Elsewhere::key(), server, version);
    let pdu = pdu.expect("it is well-formed");
    let invite = IncomingInvite {
        room_id: &room,
        event_id: pdu.event_id(),
        room_version: "10",
        event: pdu.json().clone(),
        stripped_state: Vec::new(),
        via: Vec::new(),
    };
    world.rooms.peer_invite(server, invite).await.expect("is taken");
    room
}

/// Whether or not the other server hears of it.
#[tokio::test]
async fn an_invitation_of_another_server_that_is_rejected_has_an_end() {
    let world = World::new().await;
    let ben = world.user("ben").await;
    let room = invite_from_elsewhere(&world, &ben).await;
    let since = world.token(&ben).await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    let answer = world.next(&ben, &since).await;
    let told = left(&answer, &room);
    let timeline = events(told, "timeline");
    assert_eq!(timeline.len(), 1, "{answer}");
    assert_eq!(timeline[0]["state_key"], ben.as_str());
    assert_eq!(timeline[0]["content"]["membership"], "leave");
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    let nothing = Ask::filtered(r#"{"room":{"timeline":{"types":["m.room.message"]}}}"#);
    let answer = world.ask(&ben, Some(&since), &nothing).await;
    assert!(events(left(&answer, &room), "timeline").is_empty(), "{answer}");
}

#[tokio::test]
async fn a_join_brings_the_whole_room() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada]).await;
    for number in 0..12 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    let since = world.token(&ben).await;
    world.join(&room, &ben).await;
    let answer = world.next(&ben, &since).await;
    let told = joined(&answer, &room);
    assert_eq!(told["timeline"]["limited"], true);
    assert_eq!(events(told, "timeline").len(), 10);
    assert!(keys(told, "state").contains(&"m.room.create|".to_owned()));
    assert_eq!(told["summary"]["m.joined_member_count"], 2);
}

#[tokio::test]
async fn a_change_of_profile_is_not_a_join() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let profile = Profile { displayname: Some("Ben".to_owned()), avatar_url: None };
    world.rooms.set_profile_in_rooms(&ben, &profile).await.expect("the profile is set");
    let answer = world.next(&ben, &since).await;
    let told = joined(&answer, &room);
    assert_eq!(keys(told, "timeline"), [format!("m.room.member|{ben}")]);
    assert!(events(told, "state").is_empty());
    assert_eq!(told["timeline"]["limited"], false);
}

#[tokio::test]
async fn leaving_kicking_and_banning_end_with_the_member_event() {
    for how in ["leave", "kick", "ban"] {
        let world = World::new().await;
        let (ada, ben) = (world.user("ada").await, world.user("ben").await);
        let room = world.shared_room(&[&ada, &ben]).await;
        let since = world.token(&ben).await;
        world.say(&room, &ada, "before").await;
        let topic = world.topic(&room, &ada, "before").await;
        match how {
            "leave" => world.rooms.leave(&room, &ben, None).await,
            "kick" => world.rooms.kick(change(&room, &ada, &ben)).await,
            _ => world.rooms.ban(change(&room, &ada, &ben)).await,
        }
        .expect("allowed");
        world.say(&room, &ada, "after").await;
        world.topic(&room, &ada, "after").await;

        let answer = world.next(&ben, &since).await;
        assert!(joined(&answer, &room).is_null(), "{how}");
        let told = left(&answer, &room);
        assert_eq!(bodies(told), ["before"], "{how}");
        let last = events(told, "timeline").last().expect("the end");
        assert_eq!(last["state_key"], ben.as_str(), "{how}");
        assert!(ids(told, "timeline").contains(&topic.to_string()), "{how}");
        assert!(!answer.to_string().contains("after"), "{how}: {answer}");
        let next = token_of(&answer);
        world.say(&room, &ada, "long after").await;
        assert!(is_empty(&world.next(&ben, &next).await), "{how}");

        // On an initial sync only if asked for, and then up to the end.
        let initial = world.initial(&ben).await;
        assert!(initial["rooms"].get("leave").is_none(), "{how}");
        let ask = Ask::filtered(r#"{"room":{"include_leave":true}}"#);
        let answer = world.ask(&ben, None, &ask).await;
        let told = left(&answer, &room);
        assert!(!told.to_string().contains("after"), "{how}: {told}");
        assert!(bodies(told).contains(&"before"), "{how}: {told}");
    }
}

/// Even if all of it is told: the client may hold an older piece of the timeline.
#[tokio::test]
async fn a_room_that_was_joined_since_has_a_limited_timeline() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada]).await;
    let since = world.token(&ben).await;
    world.join(&room, &ben).await;
    let answer = world.next(&ben, &since).await;
    let told = joined(&answer, &room);
    assert_eq!(told["timeline"]["limited"], true);
    assert!(events(told, "timeline").iter().any(|event| event["type"] == "m.room.create"));
    assert_eq!(joined(&world.initial(&ben).await, &room)["timeline"]["limited"], false);
}

#[tokio::test]
async fn left_and_back_within_one_window_is_a_new_join() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    world.topic(&room, &ada, "meanwhile").await;
    world.join(&room, &ben).await;
    for number in 0..12 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    let answer = world.next(&ben, &since).await;
    assert!(left(&answer, &room).is_null());
    let state = keys(joined(&answer, &room), "state");
    assert!(state.contains(&"m.room.create|".to_owned()), "{state:?}");
    assert!(state.contains(&"m.room.topic|".to_owned()), "{state:?}");
}

#[tokio::test]
async fn joined_and_left_within_one_window_is_left_with_its_state() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada]).await;
    let since = world.token(&ben).await;
    world.join(&room, &ben).await;
    world.say(&room, &ada, "hello").await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    let answer = world.next(&ben, &since).await;
    let told = left(&answer, &room);
    assert!(bodies(told).contains(&"hello"));
    let all = [keys(told, "state"), keys(told, "timeline")].concat();
    assert!(all.contains(&"m.room.create|".to_owned()), "{all:?}");
}

#[tokio::test]
async fn a_forgotten_room_is_never_mentioned() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    world.rooms.forget(&room, &ben).await.expect("ben may forget");
    assert!(left(&world.next(&ben, &since).await, &room).is_null());
    let ask = Ask::filtered(r#"{"room":{"include_leave":true}}"#);
    assert!(left(&world.ask(&ben, None, &ask).await, &room).is_null());
}

#[tokio::test]
async fn a_knock_is_told_and_what_comes_of_it() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.room(&ada, Preset::PrivateChat).await;
    world.event(&room, &ada, "m.room.join_rules", Some(""), &json!({"join_rule": "knock"})).await;
    let since = world.token(&ben).await;
    let knock = KnockRequest {
        room_id: &room,
        user: &ben,
        profile: Profile::default(),
        reason: None,
        via: Vec::new(),
    };
    world.rooms.knock(knock).await.expect("ben may knock");
    let answer = world.next(&ben, &since).await;
    let told = &answer["rooms"]["knock"][room.as_str()];
    let state = keys(told, "knock_state");
    assert!(state.contains(&format!("m.room.member|{ben}")), "{state:?}");
    assert!(state.contains(&"m.room.create|".to_owned()), "{state:?}");

    world.rooms.kick(change(&room, &ada, &ben)).await.expect("ada may refuse");
    let answer = world.next(&ben, &token_of(&answer)).await;
    assert_eq!(keys(left(&answer, &room), "timeline"), [format!("m.room.member|{ben}")]);
}
