//! What a filter keeps away.

use serde_json::json;

use crate::world::{Ask, World, bodies, events, is_empty, joined, keys, token_of};

#[tokio::test]
async fn rooms_types_senders_and_limits() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let cay = world.user("cay").await;
    let room = world.shared_room(&[&ada, &ben, &cay]).await;
    let other = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&room, &ada, "of ada").await;
    world.say(&room, &cay, "of cay").await;
    world.topic(&room, &ada, "topic").await;
    let picture = json!({"msgtype": "m.image", "body": "picture", "url": "mxc://x.test/a"});
    world.event(&room, &ada, "m.room.message", None, &picture).await;
    world.say(&other, &ada, "elsewhere").await;

    for (timeline, expected) in [
        (json!({}), vec!["of ada", "of cay", "picture"]),
        (json!({"senders": [cay]}), vec!["of cay"]),
        (json!({"not_senders": [ada]}), vec!["of cay"]),
        (json!({"types": ["m.room.mess*"]}), vec!["of ada", "of cay", "picture"]),
        (json!({"not_types": ["m.room.message"]}), vec![]),
        (json!({"contains_url": true}), vec!["picture"]),
        (json!({"contains_url": false}), vec!["of ada", "of cay"]),
        (json!({"limit": 2, "types": ["m.room.message"]}), vec!["of cay", "picture"]),
        (json!({"limit": 0}), vec![]),
        (json!({"rooms": [other]}), vec![]),
        (json!({"not_rooms": [other]}), vec!["of ada", "of cay", "picture"]),
    ] {
        let filter = json!({"room": {"timeline": timeline}}).to_string();
        let answer = world.ask(&ben, Some(&since), &Ask::filtered(&filter)).await;
        assert_eq!(bodies(joined(&answer, &room)), expected, "{filter}");
    }
    let only = json!({"room": {"rooms": [other]}}).to_string();
    let answer = world.ask(&ben, Some(&since), &Ask::filtered(&only)).await;
    assert!(joined(&answer, &room).is_null());
    assert_eq!(bodies(joined(&answer, &other)), ["elsewhere"]);
}

#[tokio::test]
async fn a_limit_of_zero_leaves_the_state() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.topic(&room, &ada, "news").await;
    world.say(&room, &ada, "hello").await;
    let none = Ask::filtered(r#"{"room":{"timeline":{"limit":0}}}"#);
    let answer = world.ask(&ben, Some(&since), &none).await;
    let told = joined(&answer, &room);
    assert_eq!(told["timeline"]["events"], json!([]));
    assert_eq!(told["timeline"]["limited"], true);
    assert_eq!(keys(told, "state"), ["m.room.topic|"]);
    assert!(is_empty(&world.ask(&ben, Some(&token_of(&answer)), &none).await));
    let initial = world.ask(&ben, None, &none).await;
    let told = joined(&initial, &room);
    assert!(keys(told, "state").contains(&"m.room.topic|".to_owned()));
}

#[tokio::test]
async fn state_and_account_data_by_type() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let room = world.shared_room(&[&ada]).await;
    for number in 0..12 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    let filter = json!({
        "account_data": {"not_types": ["m.push_rules"]},
        "room": {"state": {"types": ["m.room.create", "m.room.power_*"]}},
    });
    let answer = world.ask(&ada, None, &Ask::filtered(&filter.to_string())).await;
    let state = keys(joined(&answer, &room), "state");
    assert_eq!(state, ["m.room.create|", "m.room.power_levels|"]);
    assert!(events(&answer, "account_data").is_empty());
}

#[tokio::test]
async fn an_event_in_federation_format_has_its_id() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let room = world.shared_room(&[&ada]).await;
    world.say(&room, &ada, "hello").await;
    let usual = world.ask(&ada, None, &Ask::filtered("{}")).await;
    let raw = Ask::filtered(r#"{"event_format":"federation"}"#);
    let raw = world.ask(&ada, None, &raw).await;
    let last = |answer: &serde_json::Value| {
        let events = joined(answer, &room)["timeline"]["events"].as_array().cloned();
        events.and_then(|events| events.last().cloned()).expect("an event")
    };
    let (usual, raw) = (last(&usual), last(&raw));
    assert_eq!(raw["event_id"], usual["event_id"]);
    assert_eq!((&raw["room_id"], &raw["content"]["body"]), (&json!(room), &json!("hello")));
    assert!(raw["signatures"].is_object() && raw["prev_events"].is_array());
}
