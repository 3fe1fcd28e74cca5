//! Who is told of what, and in which words.

use accounts::Session;
use rooms::Redaction;
use ruma::{
    RoomId, UserId,
    push::{NewPushRule, NewSimplePushRule, Ruleset},
};
use serde_json::{Value, json};

use crate::{
    gateway::event_ids,
    world::{START_MS, World, pusher},
};

#[tokio::test]
async fn a_message_arrives_with_everything_that_there_is_to_say() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.room(&ben.user_id, Some("Kitchen")).await;
    world.join(&room, &ada.user_id).await;
    let event = world.say(&room, &ada, "hello").await;
    let taken = world.gateway.takes(1).await;
    let expected = json!({
        "event_id": event,
        "id": event,
        "room_id": room,
        "type": "m.room.message",
        "sender": ada.user_id,
        "sender_display_name": "ADA",
        "room_name": "Kitchen",
        "prio": "high",
        "content": { "msgtype": "m.text", "body": "hello" },
        "counts": { "unread": 1 },
        "devices": [{
            "app_id": "org.example.app",
            "pushkey": "ben",
            "pushkey_ts": START_MS / 1000,
            "data": { "own": 7 },
            "tweaks": { "sound": "default" },
        }],
    });
    assert_eq!(taken, [expected]);
}

#[tokio::test]
async fn who_wants_ids_only_gets_no_more() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let mut ids_only = pusher("ben");
    ids_only.data.insert("format".to_owned(), json!("event_id_only"));
    world.set(&ben, ids_only).await;
    let room = world.shared_room(&[&ben, &ada]).await;
    let event = world.say(&room, &ada, "hello").await;
    let taken = world.gateway.takes(1).await;
    let expected = json!({
        "event_id": event,
        "room_id": room,
        "prio": "low",
        "counts": { "unread": 1 },
        "devices": [{
            "app_id": "org.example.app",
            "pushkey": "ben",
            "pushkey_ts": START_MS / 1000,
            "data": { "own": 7, "format": "event_id_only" },
        }],
    });
    assert_eq!(taken, [expected]);
}

/// Mutes a room in the words of old.
async fn mute(world: &World, user: &UserId, room: &RoomId) {
    let actions = serde_json::from_value(json!(["dont_notify"])).expect("actions");
    let rule = NewPushRule::Room(NewSimplePushRule::new(room.to_owned(), actions));
    let change = |rules: &mut Ruleset| rules.insert(rule, None, None);
    world.accounts.change_push_rules(user, change).await.expect("a good rule");
}

/// What is told of `events` (room or not, type, content), by the last of them, which must be told.
async fn told(world: &World, room: &RoomId, by: &Session, events: &[(&str, Value)]) -> Vec<Value> {
    let mut last = None;
    for (event_type, content) in events {
        last = Some(world.event(room, &by.user_id, event_type, content).await);
    }
    let last = last.expect("some events");
    let mut all = Vec::new();
    while event_ids(&all).last() != Some(&last.as_str()) {
        all.extend(world.gateway.takes(1).await);
    }
    all
}

#[tokio::test]
async fn the_rules_say_what_is_told_and_how() {
    let world = World::new().await;
    let (ada, ben) = (world.pushed("ada").await, world.pushed("ben").await);
    let (room, muted) =
        (world.shared_room(&[&ada, &ben]).await, world.shared_room(&[&ada, &ben]).await);
    mute(&world, &ben.user_id, &muted).await;
    world.say(&muted, &ada, "not heard").await;
    let mention = json!({ "body": "ben", "m.mentions": { "user_ids": [ben.user_id] } });
    let events = [
        ("m.room.message", json!({ "msgtype": "m.notice", "body": "hum" })),
        ("m.reaction", json!({})),
        ("m.room.message", json!({ "msgtype": "m.text", "body": "hello" })),
        ("m.room.message", mention),
        ("m.room.encrypted", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
    ];
    let told = told(&world, &room, &ada, &events).await;
    // Nobody is told of what they say themselves.
    let keys: Vec<_> = told.iter().map(|one| &one["devices"][0]["pushkey"]).collect();
    assert_eq!(keys, ["ben"; 3]);
    let said: Vec<_> = told
        .iter()
        .map(|one| (one["type"].as_str(), one["prio"].as_str(), &one["devices"][0]["tweaks"]))
        .collect();
    let both = json!({ "sound": "default", "highlight": true });
    let none = Value::Null;
    assert_eq!(
        said,
        [
            (Some("m.room.message"), Some("low"), &none),
            (Some("m.room.message"), Some("high"), &both),
            (Some("m.room.encrypted"), Some("high"), &none),
        ]
    );
}

#[tokio::test]
async fn an_invite_is_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.room(&ada.user_id, Some("Kitchen")).await;
    world.invite(&room, &ada.user_id, &ben.user_id).await;
    let taken = world.gateway.takes(1).await;
    assert_eq!(taken[0]["type"], "m.room.member");
    assert_eq!(taken[0]["membership"], "invite");
    assert_eq!(taken[0]["user_is_target"], true);
    assert_eq!(taken[0]["room_name"], "Kitchen");
    assert_eq!(taken[0]["counts"]["unread"], 1);
    assert_eq!(taken[0]["devices"][0]["tweaks"], json!({ "sound": "default" }));
    // Answered on another device.
    world.join(&room, &ben.user_id).await;
    let taken = world.gateway.takes(1).await;
    assert_eq!(taken[0]["counts"]["unread"], 0);
    assert_eq!(taken[0].get("event_id"), None);
}

#[tokio::test]
async fn each_device_is_told_until_it_is_switched_off_or_logged_out() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let tablet = world.log_in("ben", "TABLET").await;
    world.set(&tablet, pusher("tablet")).await;
    let room = world.shared_room(&[&ada, &ben]).await;
    let keys = |taken: Vec<Value>| {
        let key = |one: &Value| one["devices"][0]["pushkey"].as_str().expect("a key").to_owned();
        let mut keys: Vec<_> = taken.iter().map(key).collect();
        keys.sort();
        keys
    };
    world.say(&room, &ada, "one").await;
    assert_eq!(keys(world.gateway.takes(2).await), ["ben", "tablet"]);
    let mut off = pusher("tablet");
    off.enabled = false;
    world.set(&ben, off).await;
    world.say(&room, &ada, "two").await;
    assert_eq!(keys(world.gateway.takes(1).await), ["ben"]);
    world.set(&ben, pusher("tablet")).await;
    world.say(&room, &ada, "three").await;
    assert_eq!(keys(world.gateway.takes(2).await), ["ben", "tablet"]);
    world.accounts.end_session(tablet.id).await.expect("ended");
    world.say(&room, &ada, "four").await;
    world.say(&room, &ada, "five").await;
    assert_eq!(keys(world.gateway.takes(2).await), ["ben", "ben"]);
}

#[tokio::test]
async fn what_was_before_the_pusher_or_the_join_is_not_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.say(&room, &ada, "before the pusher").await;
    world.set(&ben, pusher("ben")).await;
    let other = world.shared_room(&[&ada]).await;
    world.say(&other, &ada, "before the join").await;
    world.join(&other, &ben.user_id).await;
    let event = world.say(&other, &ada, "hello").await;
    let mut taken = world.gateway.takes(1).await;
    if event_ids(&taken).is_empty() {
        taken = world.gateway.takes(1).await;
    }
    assert_eq!(event_ids(&taken), [event.as_str()]);
}

#[tokio::test]
async fn what_is_ignored_or_redacted_or_left_before_it_is_told_is_not() {
    let world = World::new().await;
    let (ada, eve, ben) =
        (world.user("ada").await, world.user("eve").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &eve, &ben]).await;
    let left = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", crate::gateway::Mood::Fails);
    let first = world.say(&room, &ada, "first").await;
    world.gateway.is_tried(1).await;
    world.say(&room, &eve, "from somebody who is ignored").await;
    let redacted = world.say(&room, &ada, "taken back").await;
    let redaction = Redaction {
        room_id: &room,
        sender: &ada.user_id,
        target: &redacted,
        reason: None,
        txn: None,
    };
    world.rooms.redact(redaction).await.expect("ada may redact");
    world.say(&left, &ada, "in a room that ben leaves").await;
    world.rooms.leave(&left, &ben.user_id, None).await.expect("ben may leave");
    let ignored = json!({ "ignored_users": { eve.user_id.as_str(): {} } });
    let ignored = serde_json::value::to_raw_value(&ignored).expect("JSON");
    let set = world.accounts.set_account_data(&ben.user_id, None, "m.ignored_user_list", &ignored);
    set.await.expect("set");
    let last = world.say(&room, &ada, "last").await;
    world.gateway.becomes("push.example", crate::gateway::Mood::Takes);
    let mut taken = Vec::new();
    while event_ids(&taken).last() != Some(&last.as_str()) {
        taken.extend(world.gateway.takes(1).await);
    }
    assert_eq!(event_ids(&taken), [first.as_str(), last.as_str()]);
}
