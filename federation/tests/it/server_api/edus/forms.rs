//! Notices that are broken in part: the rest of them, and what comes with them, is taken.

use ruma::presence::PresenceState;
use serde_json::{Value, json};

use super::{Scene, edu, scene};

#[tokio::test]
async fn receipts_are_taken_one_by_one() {
    let scene = scene().await;
    let Scene { home, room, ada, eve, event, .. } = &scene;
    let other = home.room(ada, "11").await;
    let foreign = home.say(ada, &other, "elsewhere").await;
    let good = json!({ "data": { "ts": 1 }, "event_ids": [event] });
    let rows = [
        ("of another room", json!({ room: { "m.read": { eve: { "event_ids": [foreign] } } } })),
        ("of no event", json!({ room: { "m.read": { eve: { "event_ids": ["$none"] } } } })),
        ("of no events", json!({ room: { "m.read": { eve: { "event_ids": [] } } } })),
        ("without events", json!({ room: { "m.read": { eve: {} } } })),
        ("of text", json!({ room: { "m.read": { eve: "receipt" } } })),
        ("private", json!({ room: { "m.read.private": { eve: good } } })),
        (
            "in another thread",
            json!({ room: { "m.read": { eve: {
            "event_ids": [event], "data": { "thread_id": "$thread" } } } } }),
        ),
        (
            "in no thread",
            json!({ room: { "m.read": { eve: {
            "event_ids": [event], "data": { "thread_id": "" } } } } }),
        ),
    ];
    for (row, content) in rows {
        scene.notify(&[edu("m.receipt", content)]).await;
        assert!(scene.readers().await.is_empty(), "{row}");
    }
    // Neither a room nor a user nor a kind that is no good takes the others along.
    let content = json!({
        "not a room": { "m.read": { eve: good } },
        "!none:home.test": { "m.read": { eve: good } },
        &other: { "m.read": { eve: good }, "m.other": 5 },
        room: { "a": [], "m.read": { "not a user": good, &scene.olga: good, eve: good } },
        "~": 5,
    });
    scene.notify(&[edu("m.receipt", content)]).await;
    assert_eq!(scene.readers().await, std::slice::from_ref(eve));
    assert!(home.rooms.receipts(&other).await.expect("reads").is_empty());
}

#[tokio::test]
async fn presence_is_read_entry_by_entry() {
    let scene = scene().await;
    let Scene { peer, ada, .. } = &scene;
    let entry = |name: &str, rest: Value| {
        let mut entry = json!({ "user_id": peer.user(name), "presence": "online" });
        let fields = entry.as_object_mut().expect("an object");
        fields.extend(rest.as_object().expect("an object").clone());
        entry
    };
    let push = json!([
        5,
        null,
        {},
        { "user_id": ada, "presence": "online" },
        { "user_id": "eve", "presence": "online" },
        { "user_id": peer.user("no_state") },
        entry("odd_state", json!({ "presence": "asleep" })),
        entry("state_of_5", json!({ "presence": 5 })),
        entry("negative", json!({ "last_active_ago": -1000 })),
        entry("fraction", json!({ "last_active_ago": 1.5 })),
        entry("endless", json!({ "last_active_ago": 1e300 })),
        entry("text", json!({ "last_active_ago": "now" })),
        entry("status", json!({ "status_msg": 5 })),
        entry("active", json!({ "currently_active": "yes" })),
        entry("long", json!({ "status_msg": "é".repeat(100_000) })),
        entry("away", json!({ "presence": "unavailable" })),
        entry("busy", json!({ "presence": "org.matrix.msc3026.busy" })),
    ]);
    scene.notify(&[edu("m.presence", json!({ "push": push }))]).await;
    let state = |name| scene.presence(&peer.user(name)).map(|presence| presence.presence);
    for name in ["negative", "fraction", "endless", "text", "status", "active", "long"] {
        assert_eq!(state(name), Some(PresenceState::Online), "{name}");
    }
    for name in ["away", "busy"] {
        assert_eq!(state(name), Some(PresenceState::Unavailable), "{name}");
    }
    for name in ["no_state", "odd_state", "state_of_5"] {
        assert_eq!(state(name), None, "{name}");
    }
    assert!(scene.presence(ada).is_none());
    let long = scene.presence(&peer.user("long")).and_then(|presence| presence.status_msg);
    assert!(long.is_some_and(|status| status.len() <= 1024), "statuses have a bound in bytes");
}

/// Every notice that is broken in some way stands before one that is good.
#[tokio::test]
async fn a_broken_notice_leaves_its_neighbours_alone() {
    let scene = scene().await;
    let Scene { ada, eve, room, .. } = &scene;
    let to_ada = |content: Value| {
        let mut good = scene.message(eve, "broken");
        let fields = good["content"].as_object_mut().expect("an object");
        fields.extend(content.as_object().expect("an object").clone());
        good
    };
    let mut typing = scene.typing(eve);
    typing["content"]["typing"] = "yes".into();
    let broken = [
        json!(null),
        json!(5),
        json!([]),
        json!({}),
        json!({ "edu_type": 5, "content": {} }),
        json!({ "edu_type": "m.typing" }),
        json!({ "edu_type": "m.typing", "content": null }),
        edu("m.typing", json!([])),
        edu("m.typing", json!({ "room_id": room, "user_id": "eve", "typing": true })),
        edu("m.typing", json!({ "room_id": "room", "user_id": eve, "typing": true })),
        typing,
        edu("m.receipt", json!(1.5)),
        edu("m.receipt", json!({ room: 1.5 })),
        edu("m.receipt", json!({ room: { "m.read": 1.5 } })),
        edu("m.presence", json!({})),
        edu("m.presence", json!({ "push": {} })),
        edu("m.presence", json!({ "push": 1e300 })),
        to_ada(json!({ "messages": [] })),
        to_ada(json!({ "messages": { ada: { "DEVICE": "text" } } })),
        to_ada(json!({ "messages": { ada: { "DEVICE": { "x": "y".repeat(70_000) } } } })),
        to_ada(json!({ "messages": { "ada": { "DEVICE": {} } } })),
        to_ada(json!({ "message_id": 5 })),
        to_ada(json!({ "message_id": "x".repeat(300) })),
        to_ada(json!({ "type": null })),
        to_ada(json!({ "type": "x".repeat(300) })),
        to_ada(json!({ "sender": "eve" })),
        edu("m.device_list_update", json!({ "user_id": eve, "stream_id": 1.5 })),
        edu("m.signing_key_update", json!([[]])),
        edu("org.example.unknown", json!({ "x": 1e300 })),
        edu(&"m".repeat(100_000), json!({})),
    ];
    for (number, broken) in broken.into_iter().enumerate() {
        let row = broken.to_string().chars().take(200).collect::<String>();
        let id = format!("good {number}");
        scene.notify(&[broken, scene.message(eve, &id)]).await;
        let found = scene.messages(ada).await;
        assert_eq!(found.len(), number + 1, "{row}");
        assert_eq!(found[number]["content"]["id"], id.as_str(), "{row}");
    }
    assert!(scene.typists().is_empty());
    assert!(scene.readers().await.is_empty());
}

#[tokio::test]
async fn numbers_that_no_event_may_hold_are_carried_to_devices() {
    let scene = scene().await;
    let content = r#"{"f":1.50,"e":1e3,"n":-0,"b":12345678901234567890123}"#;
    let edu = serde_json::to_string(&scene.message(&scene.eve, "odd")).expect("JSON");
    let edu = edu.replace(r#"{"id":"odd"}"#, content);
    let body = format!(r#"{{"origin":"evil.test","origin_server_ts":1,"pdus":[],"edus":[{edu}]}}"#);
    let path = "/_matrix/federation/v1/send/odd";
    scene.peer.put(&scene.home, path, body).await.ok();
    let up_to = scene.home.store.log().position();
    let found = scene.home.devices.to_device(&scene.ada, "DEVICE".into(), 0, up_to, 10).await;
    let json = String::from_utf8(found.expect("reads")[0].1.to_vec()).expect("text");
    assert!(json.contains(content), "{json}");
}

#[tokio::test]
async fn the_notices_of_one_transaction_have_a_bound_together() {
    let scene = scene().await;
    let Scene { peer, .. } = &scene;
    let user = |number: usize| peer.user(&format!("u{number}"));
    let presence = |from: usize| {
        let push: Vec<Value> = (from..from + 60)
            .map(|number| json!({ "user_id": user(number), "presence": "online" }))
            .collect();
        edu("m.presence", json!({ "push": push }))
    };
    let edus: Vec<Value> = (0..100).map(|page| presence(page * 60)).collect();
    scene.notify(&edus).await;
    let known = (0..6000).filter(|number| scene.presence(&user(*number)).is_some()).count();
    assert_eq!(known, 5000);
    // The next one has a bound of its own.
    scene.notify(&[presence(5900)]).await;
    assert!(scene.presence(&user(5959)).is_some());
}
