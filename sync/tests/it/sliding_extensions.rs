//! What sliding sync tells beside the rooms.

use std::{collections::BTreeMap, time::Duration};

use devices::SendToDevice;
use ruma::{UserId, device_id, presence::PresenceState, to_device::DeviceIdOrAllDevices};
use serde_json::{Value, json, value::RawValue};

use crate::{
    slide::{Slide, all, subscribed, told, with},
    world::World,
};

fn body(extension: &str) -> Value {
    with(all(9, 1, &json!([])), extension, &json!({"enabled": true}))
}

fn users(typing: &Value) -> &Value {
    &typing["content"]["user_ids"]
}

async fn to_device(world: &World, sender: &UserId, target: &UserId, event_type: &str) {
    let empty = RawValue::from_string("{}".to_owned()).expect("JSON");
    let everywhere = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, empty)]);
    let messages = BTreeMap::from([(target.to_owned(), everywhere)]);
    let (device_id, txn_id) = (device_id!("PHONE"), event_type.into());
    let send = SendToDevice { sender, device_id, event_type, txn_id, messages: &messages };
    world.devices.send_to_device(send).await.expect("sent");
}

#[tokio::test]
async fn typing_wakes_and_is_told_again_when_a_room_is_looked_at_again() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    let other = world.shared_room(&[&ada]).await;
    let mut slide = Slide::new(&world, &ada);
    let body = body("typing");
    let first = slide.ask(&body).await;
    assert_eq!(first["extensions"], json!({}));

    let waiting = slide.wait(&body);
    let types = world.rooms.start_typing(&id, &bob, Duration::from_secs(60));
    let (second, typed) = tokio::join!(waiting, types);
    typed.expect("bob may type");
    assert!(told(&second).is_empty());
    let typing = |answer: &Value| answer["extensions"]["typing"]["rooms"][id.as_str()].clone();
    assert_eq!(users(&typing(&second)), &json!([bob]));
    assert!(typing(&slide.ask(&body).await).is_null());

    let away = with(subscribed(&other, 1, &json!([])), "typing", &json!({"enabled": true}));
    let mut tablet = Slide::elsewhere(&world, &ada);
    tablet.ask(&body).await;
    let waiting = tablet.wait(&body);
    let (_, stopped) = tokio::join!(waiting, world.rooms.stop_typing(&id, &bob));
    stopped.expect("bob stops");
    world.say(&other, &ada, "here").await;
    let third = slide.ask(&away).await;
    assert!(typing(&third).is_null());
    assert_eq!(users(&typing(&slide.ask(&body).await)), &json!([]));
}

#[tokio::test]
async fn receipts_of_a_new_room_are_those_that_can_be_placed() {
    let world = World::new().await;
    let (ada, bob, eve) =
        (world.user("ada").await, world.user("bob").await, world.user("eve").await);
    let id = world.shared_room(&[&ada, &bob, &eve]).await;
    let old = world.say(&id, &ada, "old").await;
    let new = world.say(&id, &ada, "new").await;
    world.read(&id, &bob, "m.read", &old, None).await;
    world.read(&id, &ada, "m.read.private", &old, None).await;
    world.read(&id, &eve, "m.read", &new, None).await;
    let mut slide = Slide::new(&world, &ada);
    let body = body("receipts");
    let first = slide.ask(&body).await;
    let content =
        |answer: &Value| answer["extensions"]["receipts"]["rooms"][id.as_str()]["content"].clone();
    let receipts = content(&first);
    assert!(receipts[old.as_str()]["m.read"].is_null(), "bob's is not on an event that is here");
    assert!(receipts[old.as_str()]["m.read.private"][ada.as_str()].is_object());
    assert!(receipts[new.as_str()]["m.read"][eve.as_str()].is_object());

    let waiting = slide.wait(&body);
    let (second, ()) = tokio::join!(waiting, world.read(&id, &bob, "m.read", &new, None));
    assert!(content(&second)[new.as_str()]["m.read"][bob.as_str()].is_object());

    world.read(&id, &eve, "m.read.private", &new, None).await;
    assert_eq!(content(&slide.ask(&body).await), Value::Null, "eve's private one is hers");
}

#[tokio::test]
async fn extensions_of_rooms_reach_as_far_as_they_are_asked_to() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let listed = world.shared_room(&[&ada, &bob]).await;
    let named = world.shared_room(&[&ada, &bob]).await;
    let mut body = all(99, 1, &json!([]));
    body["lists"]["all"]["filters"] = json!({"is_dm": true});
    world.account_data(&ada, None, "m.direct", &json!({bob.as_str(): [listed]})).await;
    body["room_subscriptions"] = subscribed(&named, 1, &json!([]))["room_subscriptions"].clone();
    for (reach, expected) in [
        (json!({}), vec![&listed, &named]),
        (json!({"rooms": ["*"]}), vec![&listed, &named]),
        (json!({"rooms": []}), vec![&listed]),
        (json!({"lists": []}), vec![&named]),
        (json!({"lists": ["other"], "rooms": ["!other:x"]}), vec![]),
        (json!({"lists": ["all"], "rooms": []}), vec![&listed]),
    ] {
        let mut slide = Slide::new(&world, &ada);
        let mut asked = reach.clone();
        asked["enabled"] = true.into();
        let body = with(body.clone(), "receipts", &asked);
        slide.ask(&body).await;
        for room in [&listed, &named] {
            let said = world.say(room, &ada, "hello").await;
            world.read(room, &bob, "m.read", &said, None).await;
        }
        let answer = slide.ask(&body).await;
        let rooms = answer["extensions"]["receipts"]["rooms"].as_object();
        let mut found: Vec<_> =
            rooms.into_iter().flatten().map(|(room, _)| room.as_str()).collect();
        let mut expected: Vec<_> = expected.into_iter().map(|room| room.as_str()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{reach}");
    }
}

#[tokio::test]
async fn account_data_of_the_account_and_of_the_rooms_in_sight() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let (seen, unseen) = (world.shared_room(&[&ada]).await, world.shared_room(&[&ada]).await);
    world.account_data(&ada, Some(&seen), "u.color", &json!({"c": 1})).await;
    let mut slide = Slide::new(&world, &ada);
    let body = body("account_data");
    let first = slide.ask(&body).await;
    let data = &first["extensions"]["account_data"];
    let global = data["global"].as_array().expect("all of the account");
    assert!(global.iter().any(|event| event["type"] == "m.push_rules"));
    assert_eq!(data["rooms"][seen.as_str()][0]["content"]["c"], 1);

    let waiting = slide.wait(&body);
    let dark = json!({"dark": true});
    let set = world.account_data(&ada, None, "u.theme", &dark);
    let (second, ()) = tokio::join!(waiting, set);
    assert_eq!(second["extensions"]["account_data"]["global"][0]["type"], "u.theme");

    let narrow = with(subscribed(&seen, 1, &json!([])), "account_data", &json!({"enabled": true}));
    world.account_data(&ada, Some(&unseen), "u.color", &json!({"c": 2})).await;
    world.account_data(&ada, Some(&seen), "u.color", &json!({"c": 3})).await;
    let third = slide.ask(&narrow).await;
    let rooms = &third["extensions"]["account_data"]["rooms"];
    assert_eq!(rooms[seen.as_str()][0]["content"]["c"], 3);
    assert!(rooms[unseen.as_str()].is_null());
    let fourth = slide.ask(&body).await;
    let rooms = &fourth["extensions"]["account_data"]["rooms"];
    assert_eq!(rooms[unseen.as_str()][0]["content"]["c"], 2, "it was not in sight, and is now");
}

#[tokio::test]
async fn messages_to_the_device_are_given_until_they_are_confirmed() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let mut slide = Slide::new(&world, &ada);
    let asking = |since: Option<&str>, limit: u64| {
        with(
            json!({"conn_id": "encryption"}),
            "to_device",
            &json!({"enabled": true, "since": since, "limit": limit}),
        )
    };
    let next = |answer: &Value| {
        let next = answer["extensions"]["to_device"]["next_batch"].as_str();
        next.expect("a token").to_owned()
    };
    let kinds = |answer: &Value| -> Vec<String> {
        let events = answer["extensions"]["to_device"]["events"].as_array();
        let kinds = events.into_iter().flatten().map(|event| event["type"].as_str());
        kinds.map(|kind| kind.expect("a type").to_owned()).collect()
    };
    let since = next(&slide.ask(&asking(None, 100)).await);
    let body = asking(Some(&since), 1);
    let waiting = slide.wait(&body);
    let sent = async {
        for kind in ["test.one", "test.two"] {
            to_device(&world, &bob, &ada, kind).await;
        }
    };
    let (first, ()) = tokio::join!(waiting, sent);
    assert_eq!(kinds(&first), ["test.one"]);
    slide.pos = None;
    assert_eq!(kinds(&slide.ask(&body).await), ["test.one"], "it was not confirmed");
    let second = slide.ask(&asking(Some(&next(&first)), 1)).await;
    assert_eq!(kinds(&second), ["test.two"]);
    let third = slide.ask(&asking(Some(&next(&second)), 1)).await;
    assert!(kinds(&third).is_empty());
    assert!(kinds(&slide.ask(&asking(None, 100)).await).is_empty(), "they are gone");
    let forged = asking(Some("zzz"), 1);
    assert!(slide.try_ask(&forged, Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn keys_and_device_lists() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    world.shared_room(&[&ada, &bob]).await;
    let body = with(json!({"conn_id": "encryption"}), "e2ee", &json!({"enabled": true}));
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&body).await;
    let keys = &first["extensions"]["e2ee"];
    assert_eq!(keys["device_one_time_keys_count"]["signed_curve25519"], 0);
    assert_eq!(keys["device_unused_fallback_key_types"], json!([]));
    assert!(keys.get("device_lists").is_none());

    let waiting = slide.wait(&body);
    let device = world.devices.ensure(&bob, Some(device_id!("TABLET")), None);
    let (second, device) = tokio::join!(waiting, device);
    device.expect("a device");
    assert_eq!(second["extensions"]["e2ee"]["device_lists"]["changed"], json!([bob]));
    let third = slide.ask(&body).await;
    assert!(third["extensions"]["e2ee"].get("device_lists").is_none());
}

#[tokio::test]
async fn presence_is_told_to_who_asks_for_it() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    world.shared_room(&[&ada, &bob]).await;
    let mut slide = Slide::new(&world, &ada);
    let body = body("im.meridian.presence");
    slide.ask(&body).await;
    let waiting = slide.wait(&body);
    let online = world.presence.set(&bob, device_id!("PHONE"), &PresenceState::Online, None);
    let (second, set) = tokio::join!(waiting, online);
    set.expect("bob is online");
    let events = second["extensions"]["im.meridian.presence"]["events"].as_array();
    let event = &events.expect("presence")[0];
    assert_eq!((&event["sender"], &event["content"]["presence"]), (&json!(bob), &json!("online")));
}

#[tokio::test]
async fn threads_that_are_followed() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let (one, two) = (world.say(&id, &ada, "one").await, world.say(&id, &ada, "two").await);
    let key = "io.element.msc4308.thread_subscriptions";
    let asking = |limit: u64| with(json!({}), key, &json!({"enabled": true, "limit": limit}));
    let mut slide = Slide::new(&world, &ada);
    assert!(slide.ask(&asking(9)).await["extensions"].get(key).is_none());

    let subscribe =
        |root| world.accounts.subscribe_thread(&ada, &id, root, accounts::Subscription::Manual);
    let body = asking(9);
    let waiting = slide.wait(&body);
    let (woken, done) = tokio::join!(waiting, subscribe(&one));
    done.expect("ada may follow");
    let thread = &woken["extensions"][key]["subscribed"][id.as_str()][one.as_str()];
    assert_eq!(thread["automatic"], false);
    assert!(thread["bump_stamp"].is_u64());

    let before = slide.pos.clone().expect("a pos");
    subscribe(&two).await.expect("ada may follow");
    world.accounts.unsubscribe_thread(&ada, &id, &one).await.expect("and cease to");
    let limited = slide.ask(&asking(1)).await["extensions"][key].take();
    assert!(limited["unsubscribed"][id.as_str()][one.as_str()].is_object());
    assert!(limited.get("subscribed").is_none());
    let from = limited["prev_batch"].as_str().expect("there is more");
    let page = world.sync.thread_subscriptions(&ada, Some(from), Some(&before), 9).await;
    let page: Value = serde_json::from_slice(&page.expect("a page")).expect("JSON");
    assert!(page["subscribed"][id.as_str()][two.as_str()].is_object());
    assert!(page.get("end").is_none() && page.get("unsubscribed").is_none());
}
