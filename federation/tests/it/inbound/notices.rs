//! Hazard A7: a server speaks for its own users only, and of rooms that they are in.

use ruma::{OwnedRoomId, UserId, presence::PresenceState};
use serde_json::{Value, json};

use super::Scene;

/// Of one user, about a room and an event, to ada and carl.
fn typing(_: &Scene, user: &str, room: &OwnedRoomId, _event: &str) -> Value {
    let content = json!({ "room_id": room, "user_id": user, "typing": true });
    json!({ "edu_type": "m.typing", "content": content })
}

fn receipt(_: &Scene, user: &str, room: &OwnedRoomId, event: &str) -> Value {
    let read = json!({ user: { "event_ids": [event], "data": { "ts": 1 } } });
    json!({ "edu_type": "m.receipt", "content": { room.as_str(): { "m.read": read } } })
}

fn presence(_: &Scene, user: &str, _: &OwnedRoomId, _event: &str) -> Value {
    let state = json!({
        "user_id": user,
        "presence": "online",
        "last_active_ago": 1,
        "currently_active": true,
        "status_msg": "forged",
    });
    json!({ "edu_type": "m.presence", "content": { "push": [state] } })
}

fn to_device(scene: &Scene, user: &str, _: &OwnedRoomId, event: &str) -> Value {
    let messages = json!({
        scene.ada.as_str(): { "D": { "forged": true } },
        scene.carl.as_str(): { "D": { "forged": true } },
    });
    let content = json!({
        "sender": user,
        "type": "m.test",
        "message_id": format!("{user}{event}"),
        "messages": messages,
    });
    json!({ "edu_type": "m.direct_to_device", "content": content })
}

fn device_list(_: &Scene, user: &str, _: &OwnedRoomId, _event: &str) -> Value {
    let content = json!({
        "user_id": user,
        "device_id": "D",
        "stream_id": 9,
        "prev_id": [],
        "deleted": true,
        "device_display_name": "forged",
    });
    json!({ "edu_type": "m.device_list_update", "content": content })
}

fn signing_keys(_: &Scene, user: &str, _: &OwnedRoomId, _event: &str) -> Value {
    let key = json!({ "user_id": user, "usage": ["master"], "keys": { "ed25519:x": "x" } });
    let content = json!({ "user_id": user, "master_key": key });
    json!({ "edu_type": "m.signing_key_update", "content": content })
}

type Notice = fn(&Scene, &str, &OwnedRoomId, &str) -> Value;

const NOTICES: [Notice; 6] = [typing, receipt, presence, to_device, device_list, signing_keys];

/// What users see of notices.
#[derive(Debug, PartialEq)]
struct Effects {
    typing: Vec<String>,
    receipts: Vec<String>,
    online: Vec<String>,
    to_device: usize,
    devices: Vec<String>,
}

async fn effects(scene: &Scene, room: &OwnedRoomId, others: &[&UserId]) -> Effects {
    let us = &scene.us;
    let receipts = us.rooms.receipts(room).await.expect("reads");
    let mut online = Vec::new();
    for user in others.iter().copied().chain([&*scene.ada, &*scene.carl]) {
        let known = us.presence.get(user).await.expect("reads");
        if known.presence != PresenceState::Offline || known.status_msg.is_some() {
            online.push(user.to_string());
        }
    }
    let mut devices = Vec::new();
    for user in [&scene.ada, &scene.carl] {
        for device in us.devices.list(user).await.expect("reads") {
            devices.push(format!("{user} {} {:?}", device.device_id, device.display_name));
        }
    }
    Effects {
        typing: us.rooms.typing(room).1.iter().map(ToString::to_string).collect(),
        receipts: receipts.iter().map(|receipt| receipt.user_id.to_string()).collect(),
        online,
        to_device: us.to_device(&scene.ada).await,
        devices,
    }
}

#[tokio::test]
async fn a_server_speaks_for_its_own_users_only() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, carl, mallory, room, .. } = &scene;
    let event = us.say(ada, room, "hello").await;
    let other = us.user("bob").await;
    let ghost = UserId::parse("@ghost:elsewhere.test").expect("a user id");
    let victims = [ada.as_str(), carl.as_str(), other.as_str(), ghost.as_str(), "ada", ""];
    let before = effects(&scene, room, &[&other, &ghost]).await;
    for round in 0..50 {
        let edus: Vec<Value> = NOTICES
            .iter()
            .flat_map(|notice| victims.map(|user| notice(&scene, user, room, event.as_str())))
            .collect();
        evil.send(us, &format!("t{round}"), &[], &edus).await.ok("notices");
    }
    assert_eq!(effects(&scene, room, &[&other, &ghost]).await, before);

    // The same of its own user: it is not that nothing ever arrives.
    let edus = NOTICES.map(|notice| notice(&scene, mallory.as_str(), room, event.as_str()));
    evil.send(us, "own", &[], &edus).await.ok("notices");
    let after = effects(&scene, room, &[mallory]).await;
    let own = vec![mallory.to_string()];
    assert_eq!((&after.typing, &after.receipts, &after.online), (&own, &own, &own));
    assert_eq!((after.to_device, &after.devices), (1, &before.devices));
}

/// One bad notice among good ones, and one that says nothing that can be read.
#[tokio::test]
async fn notices_that_cannot_be_read_hurt_no_others() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, mallory, room, .. } = &scene;
    let event = us.say(ada, room, "hello").await;
    let mut edus = vec![json!(null), json!(1), json!([]), json!({}), json!({ "edu_type": 1 })];
    for kind in [
        "m.typing",
        "m.receipt",
        "m.presence",
        "m.direct_to_device",
        "m.device_list_update",
        "m.signing_key_update",
        "m.unknown",
    ] {
        for content in
            [json!(null), json!([]), json!({ "push": 1 }), json!({ "x": { "m.read": 1 } })]
        {
            edus.push(json!({ "edu_type": kind, "content": content }));
        }
        edus.push(json!({ "edu_type": kind }));
    }
    edus.extend(NOTICES.map(|notice| notice(&scene, mallory.as_str(), room, event.as_str())));
    evil.send(us, "t", &[], &edus).await.ok("notices");
    let after = effects(&scene, room, &[mallory]).await;
    let own = vec![mallory.to_string()];
    assert_eq!((after.typing, after.receipts, after.online), (own.clone(), own.clone(), own));
    assert_eq!(after.to_device, 1);
}

/// Who is not in the room says nothing in it.
#[tokio::test]
async fn nobody_types_or_reads_in_a_room_that_they_are_not_in() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, mallory, room, .. } = &scene;
    let event = us.say(ada, room, "hello").await;
    let secret = us.room(ada, "11", rooms::Preset::PrivateChat).await;
    let hidden = us.say(ada, &secret, "hidden").await;
    let stranger = evil.user("stranger");
    let nowhere = OwnedRoomId::try_from("!nowhere:us.test:1").expect("a room id");
    for (round, (user, place, event)) in [
        (stranger.as_str(), room, event.as_str()),
        (mallory.as_str(), &secret, hidden.as_str()),
        (mallory.as_str(), &secret, event.as_str()),
        (mallory.as_str(), &nowhere, event.as_str()),
        (mallory.as_str(), &nowhere, "$nothing"),
    ]
    .into_iter()
    .enumerate()
    {
        let edus = [typing, receipt].map(|notice| notice(&scene, user, place, event));
        evil.send(us, &format!("t{round}"), &[], &edus).await.ok("notices");
        let after = effects(&scene, place, &[]).await;
        assert!(after.typing.is_empty() && after.receipts.is_empty(), "{user} in {place}");
    }
    // An event of another room is none that can be read here.
    let foreign = receipt(&scene, mallory.as_str(), room, hidden.as_str());
    evil.send(us, "foreign", &[], &[foreign]).await.ok("notices");
    assert_eq!(effects(&scene, room, &[]).await.receipts, Vec::<String>::new());
}

/// Who has gone for good has no devices, and nothing is kept for those there were.
#[tokio::test]
async fn nothing_is_kept_for_a_user_who_is_deactivated() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, mallory, .. } = &scene;
    let gone = us.user("gone").await;
    us.devices.delete(&gone, "D".into()).await.expect("deletes");
    us.accounts.deactivate(&gone, false).await.expect("deactivates");
    for (n, device) in ["D", "*", "OTHER"].into_iter().enumerate() {
        let messages = json!({
            gone.as_str(): { device: { "x": 1 } },
            ada.as_str(): { device: { "x": 1 } },
        });
        let content = json!({
            "sender": mallory,
            "type": "m.test",
            "message_id": device,
            "messages": messages,
        });
        let edu = json!({ "edu_type": "m.direct_to_device", "content": content });
        evil.send(us, &format!("t{n}"), &[], &[edu]).await.ok("a message");
        assert_eq!(us.to_device(&gone).await, 0, "{device}");
        assert_eq!(us.devices.list(&gone).await.expect("reads").len(), 0, "{device}");
    }
    assert_eq!(us.to_device(ada).await, 2, "others hear theirs");
}
