//! Typing, receipts, account data, to-device messages, presence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use devices::SendToDevice;
use ruma::{device_id, presence::PresenceState, to_device::DeviceIdOrAllDevices};
use serde_json::{json, value::RawValue};

use crate::world::{Ask, World, events, is_empty, joined, of_type, token_of};

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON")
}

#[tokio::test]
async fn typing_is_the_whole_list_whenever_it_changes() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let minute = Duration::from_secs(60);
    world.rooms.start_typing(&room, &ada, minute).await.expect("ada may type");
    let answer = world.ask(&ben, Some(&since), &Ask::waiting()).await;
    let typing = events(joined(&answer, &room), "ephemeral");
    assert_eq!(typing, [json!({"type": "m.typing", "content": {"user_ids": [ada]}})]);
    // Whoever comes new gets it as well.
    let initial = world.initial(&ben).await;
    assert!(of_type(events(joined(&initial, &room), "ephemeral"), "m.typing").is_some());

    let since = token_of(&answer);
    assert!(is_empty(&world.next(&ben, &since).await));
    world.rooms.stop_typing(&room, &ada).await.expect("ada may stop");
    let answer = world.ask(&ben, Some(&since), &Ask::waiting()).await;
    let typing = events(joined(&answer, &room), "ephemeral");
    assert_eq!(typing, [json!({"type": "m.typing", "content": {"user_ids": []}})]);
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
}

#[tokio::test]
async fn typing_that_is_not_renewed_ends_without_anybody_asking() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let short = Duration::from_millis(600);
    world.rooms.start_typing(&room, &ada, short).await.expect("ada may type");
    let answer = world.ask(&ben, Some(&since), &Ask::waiting()).await;
    assert!(answer.to_string().contains(ada.as_str()), "{answer}");
    let answer = world.ask(&ben, Some(&token_of(&answer)), &Ask::waiting()).await;
    let typing = events(joined(&answer, &room), "ephemeral");
    assert_eq!(typing, [json!({"type": "m.typing", "content": {"user_ids": []}})]);
}

#[tokio::test]
async fn receipts_are_told_to_the_room_and_private_ones_to_their_user() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let first = world.say(&room, &ada, "one").await;
    let second = world.say(&room, &ada, "two").await;
    let (for_ada, for_ben) = (world.token(&ada).await, world.token(&ben).await);
    world.read(&room, &ben, "m.read", &first, None).await;
    world.read(&room, &ben, "m.read.private", &second, None).await;
    world.read(&room, &ben, "m.read", &second, Some("main")).await;

    let answer = world.next(&ada, &for_ada).await;
    let told = events(joined(&answer, &room), "ephemeral");
    let content = &of_type(told, "m.receipt").expect("receipts")["content"];
    assert!(content[first.as_str()]["m.read"][ben.as_str()]["ts"].is_u64(), "{content}");
    assert_eq!(content[second.as_str()]["m.read"][ben.as_str()]["thread_id"], "main");
    assert!(!answer.to_string().contains("m.read.private"), "{answer}");
    assert!(is_empty(&world.next(&ada, &token_of(&answer)).await));

    let answer = world.next(&ben, &for_ben).await;
    assert!(answer.to_string().contains("m.read.private"), "{answer}");
    assert!(!world.initial(&ada).await.to_string().contains("m.read.private"));
    assert!(world.initial(&ben).await.to_string().contains("m.read.private"));
}

#[tokio::test]
async fn two_ways_of_reading_up_to_one_event_are_both_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let event = world.say(&room, &ada, "one").await;
    let since = world.token(&ada).await;
    world.read(&room, &ben, "m.read", &event, None).await;
    world.read(&room, &ben, "m.read", &event, Some("main")).await;
    let answer = world.next(&ada, &since).await;
    let threads: Vec<_> = events(joined(&answer, &room), "ephemeral")
        .iter()
        .map(|told| &told["content"][event.as_str()]["m.read"][ben.as_str()]["thread_id"])
        .collect();
    assert_eq!(threads.len(), 2, "{answer}");
    assert!(threads.contains(&&json!("main")) && threads.contains(&&json!(null)));
}

#[tokio::test]
async fn account_data_is_told_when_it_changes() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let room = world.shared_room(&[&ada]).await;
    let initial = world.initial(&ada).await;
    assert!(of_type(events(&initial, "account_data"), "m.push_rules").is_some());
    let since = token_of(&initial);
    let data = raw(&json!({"a": 1}));
    world.accounts.set_account_data(&ada, None, "org.test", &data).await.expect("set");
    let tag = raw(&json!({"order": 0.5}));
    world.accounts.set_tag(&ada, &room, "m.favourite", &tag).await.expect("set");
    let answer = world.next(&ada, &since).await;
    let global = events(&answer, "account_data");
    assert_eq!(global, [json!({"type": "org.test", "content": {"a": 1}})]);
    let of_room = events(joined(&answer, &room), "account_data");
    let tags = json!({"tags": {"m.favourite": {"order": 0.5}}});
    assert_eq!(of_room, [json!({"type": "m.tag", "content": tags})]);
    assert!(is_empty(&world.next(&ada, &token_of(&answer)).await));
    let initial = world.initial(&ada).await;
    assert!(of_type(events(&initial, "account_data"), "org.test").is_some());
    assert!(of_type(events(joined(&initial, &room), "account_data"), "m.tag").is_some());
}

#[tokio::test]
async fn to_device_messages_are_given_until_they_are_confirmed() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let since = world.token(&ben).await;
    let phone = DeviceIdOrAllDevices::DeviceId(device_id!("PHONE").to_owned());
    for number in 0..3 {
        let content = raw(&json!({"number": number}));
        let messages = BTreeMap::from([(ben.clone(), BTreeMap::from([(phone.clone(), content)]))]);
        let txn_id = format!("txn{number}");
        let send = SendToDevice {
            sender: &ada,
            device_id: device_id!("PHONE"),
            event_type: "org.test",
            txn_id: txn_id.as_str().into(),
            messages: &messages,
        };
        world.devices.send_to_device(send).await.expect("sent");
    }
    let answer = world.ask(&ben, Some(&since), &Ask::waiting()).await;
    let told = events(&answer, "to_device");
    let numbers: Vec<_> = told.iter().map(|event| &event["content"]["number"]).collect();
    assert_eq!(numbers, [&json!(0), &json!(1), &json!(2)]);
    assert_eq!(told[0]["sender"], ada.as_str());
    // The same question has the same answer until the next one confirms it.
    assert_eq!(events(&world.next(&ben, &since).await, "to_device").len(), 3);
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    assert!(world.next(&ben, &since).await.get("to_device").is_none());
}

#[tokio::test]
async fn more_to_device_messages_than_fit_come_in_order() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let mut since = world.token(&ada).await;
    for number in 0..250 {
        let content = raw(&json!({"number": number}));
        let everywhere = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, content)]);
        let messages = BTreeMap::from([(ada.clone(), everywhere)]);
        let txn_id = format!("txn{number}");
        let send = SendToDevice {
            sender: &ada,
            device_id: device_id!("PHONE"),
            event_type: "org.test",
            txn_id: txn_id.as_str().into(),
            messages: &messages,
        };
        world.devices.send_to_device(send).await.expect("sent");
    }
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let answer = world.next(&ada, &since).await;
        let told = events(&answer, "to_device").iter();
        numbers.extend(told.map(|event| event["content"]["number"].as_u64().expect("number")));
        since = token_of(&answer);
    }
    assert_eq!(numbers, (0..250).collect::<Vec<_>>());
    assert!(is_empty(&world.next(&ada, &since).await));
}

#[tokio::test]
async fn presence_is_told_to_those_who_share_a_room() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let cay = world.user("cay").await;
    world.shared_room(&[&ada, &ben]).await;
    let (for_ben, for_cay) = (world.token(&ben).await, world.token(&cay).await);
    let set = world.presence.set(&ada, device_id!("PHONE"), &PresenceState::Online, Some("hi"));
    set.await.expect("ada is online");
    let answer = world.ask(&ben, Some(&for_ben), &Ask::waiting()).await;
    let told = events(&answer, "presence");
    assert_eq!(told.len(), 1, "{answer}");
    assert_eq!(told[0]["sender"], ada.as_str());
    assert_eq!(told[0]["content"]["presence"], "online");
    assert_eq!(told[0]["content"]["status_msg"], "hi");
    assert_eq!(told[0]["content"]["last_active_ago"], 0);
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    assert!(world.next(&cay, &for_cay).await.get("presence").is_none());

    world.clock.advance(7000);
    let initial = world.initial(&ben).await;
    assert_eq!(events(&initial, "presence").len(), 1);
    assert_eq!(events(&initial, "presence")[0]["content"]["last_active_ago"], 7000);
    let without = Ask::filtered(r#"{"presence":{"not_types":["*"]}}"#);
    assert!(world.ask(&ben, None, &without).await.get("presence").is_none());
}

/// More than is kept for one user.
#[tokio::test]
async fn of_many_who_change_those_are_told_who_share_a_room() {
    let world = World::new().await;
    let (ada, mut all, mut known) = (world.user("ada").await, Vec::new(), BTreeSet::new());
    let room = world.shared_room(&[&ada]).await;
    for number in 0..300 {
        let user = world.user(&format!("u{number}")).await;
        if number % 2 == 0 {
            world.join(&room, &user).await;
            known.insert(user.to_string());
        }
        all.push(user);
    }
    let mut since = world.token(&ada).await;
    for user in &all {
        let set = world.presence.set(user, device_id!("PHONE"), &PresenceState::Online, None);
        set.await.expect("online");
    }
    let mut told = BTreeSet::new();
    while told.len() < known.len() {
        let answer = world.ask(&ada, Some(&since), &Ask::waiting()).await;
        let news = events(&answer, "presence");
        assert!(!news.is_empty(), "only {} of {} were told", told.len(), known.len());
        told.extend(news.iter().filter_map(|event| Some(event["sender"].as_str()?.to_owned())));
        since = token_of(&answer);
    }
    assert_eq!(told, known);
}

#[tokio::test]
async fn of_a_few_who_are_met_it_is_told_that_they_are_away() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada]).await;
    let since = world.token(&ben).await;
    world.join(&room, &ben).await;
    let answer = world.next(&ben, &since).await;
    let told = events(&answer, "presence");
    assert_eq!(told.len(), 1, "{answer}");
    assert_eq!(told[0]["sender"], ada.as_str());
    assert_eq!(told[0]["content"]["presence"], "offline");
}

#[tokio::test]
async fn whoever_comes_into_a_room_is_met() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    for user in [&ada, &ben] {
        let set = world.presence.set(user, device_id!("PHONE"), &PresenceState::Online, None);
        set.await.expect("online");
    }
    let room = world.shared_room(&[&ada]).await;
    let (for_ada, for_ben) = (world.token(&ada).await, world.token(&ben).await);
    world.join(&room, &ben).await;
    for (user, since, met) in [(&ada, for_ada, &ben), (&ben, for_ben, &ada)] {
        let answer = world.next(user, &since).await;
        let told = events(&answer, "presence");
        assert!(told.iter().any(|event| event["sender"] == met.as_str()), "{answer}");
    }
}
