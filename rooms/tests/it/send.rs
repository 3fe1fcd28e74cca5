//! Sending and redacting.

use rooms::{CreateRoom, Error, InitialState, NewEvent, RoomEventFact, Txn, stream};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::world::{START, World, is_forbidden, message, new_event};

#[tokio::test]
async fn an_event_is_stored_and_announced() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let before = world.store.log().position();
    let id = world.send(&bob, &room, "hello").await.unwrap();
    let event = world.rooms.event_by_id(&id).await.unwrap().unwrap();
    assert_eq!(event.pdu.content_str(), r#"{"body":"hello","msgtype":"m.text"}"#);
    assert_eq!(event.pdu.origin_server_ts(), START);
    assert_eq!(event.position, before + 1);
    let facts = world.store.facts(before, u64::MAX, 10).await.unwrap();
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].fact.stream, &*facts[0].fact.subject), (stream::EVENT, room.as_str()));
    let fact = RoomEventFact::from_fact(&facts[0].fact).unwrap();
    assert_eq!((fact.event_id, fact.sender, fact.state_key), (id, bob, None));
    let view = world.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!((view.position, &view.extremities), (before + 1, &vec![event.event_id().clone()]));
}

#[tokio::test]
async fn outsiders_and_unknown_rooms_look_the_same() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let room = world.room(&ada, &[]).await;
    assert!(is_forbidden(world.send(&eve, &room, "hi").await));
    let nowhere = ruma::room_id!("!nowhere:one.test");
    assert!(matches!(world.send(&eve, nowhere, "hi").await, Err(Error::NotJoined)));
    assert!(world.rooms.room(nowhere).await.unwrap().is_none());
}

#[tokio::test]
async fn bad_events_leave_nothing_behind() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let before = world.store.log().position();
    let long = "x".repeat(256);
    let huge = format!(r#"{{"body":"{}"}}"#, "y".repeat(65_536));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let cases: [(&str, Option<&str>, &str); 14] = [
        ("m.room.message", None, huge.as_str()),
        ("m.room.message", None, deep.as_str()),
        ("m.room.message", None, r#"{"a":1.5}"#),
        ("m.room.message", None, r#"{"a":9007199254740993}"#),
        ("m.room.message", None, "[]"),
        ("m.room.message", None, "5"),
        (long.as_str(), None, "{}"),
        ("m.room.name", Some(long.as_str()), "{}"),
        ("m.room.name", Some(""), r#"{"name":5}"#),
        ("m.room.join_rules", Some(""), r#"{"join_rule":[]}"#),
        ("m.room.power_levels", Some(""), r#"{"users":"all"}"#),
        ("m.room.canonical_alias", Some(""), r#"{"alias":"none"}"#),
        ("m.room.member", Some("nobody"), r#"{"membership":"join"}"#),
        ("m.room.create", Some(""), r#"{"room_version":"12"}"#),
    ];
    for (event_type, state_key, content) in cases {
        let content: Box<RawValue> = serde_json::from_str(content).unwrap();
        let event = new_event(&ada, &room, event_type, state_key, &content);
        let outcome = world.rooms.send(event).await;
        assert!(outcome.is_err(), "{event_type} {:.60}", content.get());
    }
    assert_eq!(world.store.log().position(), before);
    world.send(&ada, &room, "the room works").await.unwrap();
}

#[tokio::test]
async fn size_limits_are_exact() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let id = world.send(&ada, &room, "").await.unwrap();
    let empty = world.rooms.event_by_id(&id).await.unwrap().unwrap();
    // Positions in the room have the same number of digits, so only the body differs.
    let room_left = 65_536 - empty.pdu.json().len();
    world.send(&ada, &room, &"x".repeat(room_left)).await.expect("65,536 bytes fit");
    let outcome = world.send(&ada, &room, &"x".repeat(room_left + 1)).await;
    assert!(matches!(outcome, Err(Error::TooLarge(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_transaction_id_counts_once_per_device_and_endpoint() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let other_room = world.room(&ada, &[&bob]).await;
    let first = world.send_with(&ada, &room, "one", "PHONE", "t1").await.unwrap();
    assert_eq!(world.send_with(&ada, &room, "again", "PHONE", "t1").await.unwrap(), first);
    assert_ne!(world.send_with(&ada, &room, "one", "LAPTOP", "t1").await.unwrap(), first);
    assert_ne!(world.send_with(&ada, &room, "one", "PHONE", "t2").await.unwrap(), first);
    assert_ne!(world.send_with(&bob, &room, "one", "PHONE", "t1").await.unwrap(), first);
    assert_ne!(world.send_with(&ada, &other_room, "one", "PHONE", "t1").await.unwrap(), first);
    let content = message("one");
    let other_type = NewEvent {
        txn: Some(Txn { device_id: "PHONE".into(), txn_id: "t1".into() }),
        ..new_event(&ada, &room, "org.example.other", None, &content)
    };
    assert_ne!(world.rooms.send(other_type).await.unwrap(), first);

    let later = world.reopened();
    assert_eq!(later.send_with(&ada, &room, "after", "PHONE", "t1").await.unwrap(), first);
    let event = later.rooms.event_by_id(&first).await.unwrap().unwrap();
    assert_eq!(event.txn.as_ref().unwrap().txn_id, "t1");
}

#[tokio::test]
async fn a_retry_at_the_same_time_gets_the_same_event() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let tries = (0..64).map(|_| world.send_with(&ada, &room, "once", "PHONE", "t"));
    let ids = futures_util::future::try_join_all(tries).await.unwrap();
    assert!(ids.iter().all(|id| *id == ids[0]));
    let sent = world.chain(&room).await;
    let sent = sent.iter().filter(|event| event.pdu.event_type() == "m.room.message");
    assert_eq!(sent.count(), 1);
}

#[tokio::test]
async fn the_same_state_is_not_sent_twice() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let name = json!({ "name": "n", "extra": [1, 2] });
    let first = world.set(&ada, &room, "m.room.name", "", name.clone()).await.unwrap();
    let position = world.store.log().position();
    assert_eq!(world.set(&ada, &room, "m.room.name", "", name.clone()).await.unwrap(), first);
    assert_eq!(world.store.log().position(), position);
    assert!(is_forbidden(world.set(&bob, &room, "m.room.name", "", name).await));
    let other = world.set(&ada, &room, "m.room.name", "", json!({ "name": "m" })).await.unwrap();
    assert_ne!(other, first);
}

#[tokio::test]
async fn a_canonical_alias_leads_to_its_room() {
    let world = World::new();
    let ada = world.user("ada");
    let (room, other) = (world.room(&ada, &[]).await, world.room(&ada, &[]).await);
    let alias = ruma::room_alias_id!("#a:one.test");
    let content = json!({ "alias": alias });
    let set = |room: ruma::OwnedRoomId, content: serde_json::Value| {
        let (world, ada) = (&world, &ada);
        async move { world.set(ada, &room, "m.room.canonical_alias", "", content).await }
    };
    let unknown = set(room.clone(), content.clone()).await;
    assert!(matches!(unknown, Err(Error::BadAlias(_))));
    world.rooms.create_alias(&ada, alias, &room).await.unwrap();
    assert!(matches!(set(other, content.clone()).await, Err(Error::BadAlias(_))));
    set(room.clone(), content).await.unwrap();
    let text = set(room, json!({ "alt_aliases": ["no alias"] })).await;
    assert!(matches!(text, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn what_a_server_acl_says_of_addresses_may_be_anything() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let set = async |acl| world.set(&ada, &room, "m.room.server_acl", "", acl).await;
    set(json!({ "allow": ["*"], "allow_ip_literals": "false" })).await.expect("it counts as true");
    assert!(matches!(set(json!({ "allow": "*" })).await, Err(Error::BadJson(_))));
}

/// Hazard E4: the other servers would hear nothing of this one any more, not even another list.
#[tokio::test]
async fn nobody_sets_a_list_that_denies_their_own_server() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let own = world.server.to_uppercase();
    let set = async |acl| world.set(&ada, &room, "m.room.server_acl", "", acl).await;
    let good = json!({ "allow": ["*"], "deny": ["evil.test"] });
    set(good.clone()).await.expect("it lets this server in");
    for list in [
        json!({}),
        json!({ "allow": [] }),
        json!({ "deny": [] }),
        json!({ "allow": ["other.test"] }),
        json!({ "allow": ["*"], "deny": [own] }),
        json!({ "allow": ["*"], "deny": ["*"] }),
    ] {
        let outcome = set(list.clone()).await;
        assert!(matches!(outcome, Err(Error::InvalidParam(_))), "{list}: {outcome:?}");
        assert_eq!(world.current(&room, "m.room.server_acl", "").await, Some(good.clone()));
        let initial = InitialState {
            event_type: "m.room.server_acl".to_owned(),
            state_key: String::new(),
            content: to_raw_value(&list).unwrap(),
        };
        let request = CreateRoom { initial_state: vec![initial], ..CreateRoom::new(&ada) };
        let created = world.rooms.create(request).await;
        assert!(matches!(created, Err(Error::InvalidParam(_))), "{list}: {created:?}");
    }
    // As any other state of that type, which is no list.
    world.set(&ada, &room, "m.room.server_acl", "x", json!({})).await.expect("it is no list");
}

#[tokio::test]
async fn a_redaction_takes_the_content_and_stays_after_a_restart() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob, &eve]).await;
    let secret = world.send(&bob, &room, "secret").await.unwrap();
    assert!(is_forbidden(world.redact(&eve, &room, &secret).await));
    let redaction = world.redact(&bob, &room, &secret).await.unwrap();
    for world in [&world, &world.reopened()] {
        let event = world.rooms.event_by_id(&secret).await.unwrap().unwrap();
        assert_eq!(event.pdu.content_str(), "{}");
        assert_eq!(event.redacted_by.as_ref(), Some(&redaction));
        assert_eq!(event.event_id(), &secret);
        let mut client = Vec::new();
        event.client.write(&mut client, None, None);
        assert!(!String::from_utf8(client).unwrap().contains("secret"));
    }
    let unknown = ruma::event_id!("$unknown").to_owned();
    assert!(matches!(world.redact(&ada, &room, &unknown).await, Err(Error::NotFound(_))));
    let elsewhere = world.room(&ada, &[]).await;
    let far = world.send(&ada, &elsewhere, "far").await.unwrap();
    assert!(matches!(world.redact(&ada, &room, &far).await, Err(Error::InvalidParam(_))));
    let by_moderator = world.send(&bob, &room, "spam").await.unwrap();
    world.redact(&ada, &room, &by_moderator).await.expect("a moderator may");
}

#[tokio::test]
async fn redacted_power_levels_are_judged_as_redacted() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let topic = json!({ "topic": "old" });
    let id = world.set(&ada, &room, "m.room.topic", "", topic).await.unwrap();
    world.redact(&ada, &room, &id).await.unwrap();
    assert_eq!(world.current(&room, "m.room.topic", "").await.unwrap(), json!({}));
    let levels = json!({ "users_default": 100, "notifications": { "room": 20 } });
    let id = world.set(&ada, &room, "m.room.power_levels", "", levels).await.unwrap();
    world.redact(&ada, &room, &id).await.unwrap();
    world.set(&bob, &room, "m.room.name", "", json!({ "name": "b" })).await.expect("still 100");
    let current = world.current(&room, "m.room.power_levels", "").await.unwrap();
    assert_eq!(current, json!({ "users_default": 100 }));
}

#[tokio::test]
async fn a_redaction_as_an_ordinary_event_is_a_redaction() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let target = world.send(&ada, &room, "gone").await.unwrap();
    let content = serde_json::value::to_raw_value(&json!({ "redacts": target })).unwrap();
    let event = new_event(&ada, &room, "m.room.redaction", None, &content);
    world.rooms.send(event).await.unwrap();
    let event = world.rooms.event_by_id(&target).await.unwrap().unwrap();
    assert_eq!(event.pdu.content_str(), "{}");
}
