//! Hazard B11: state of the wrong type, set by a server that checks nothing. Whatever is taken in,
//! the room can be read, and honest traffic goes on.

use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{encoded, path},
};

/// The type, the state key, and the field that is looked at.
const FIELDS: [(&str, &str, &str); 18] = [
    ("m.room.name", "", "name"),
    ("m.room.topic", "", "topic"),
    ("m.room.avatar", "", "url"),
    ("m.room.member", "@mallory:evil.test:1", "membership"),
    ("m.room.member", "@mallory:evil.test:1", "displayname"),
    ("m.room.power_levels", "", "events"),
    ("m.room.power_levels", "", "invite"),
    ("m.room.join_rules", "", "join_rule"),
    ("m.room.history_visibility", "", "history_visibility"),
    ("m.room.canonical_alias", "", "alias"),
    ("m.room.encryption", "", "algorithm"),
    ("m.room.tombstone", "", "replacement_room"),
    ("m.room.create", "", "creator"),
    ("m.space.child", "!x:x.test", "via"),
    ("m.room.pinned_events", "", "pinned"),
    ("m.room.guest_access", "", "guest_access"),
    ("m.room.third_party_invite", "t", "public_keys"),
    ("m.room.policy", "", "via"),
];

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(7),
        json!(-1),
        json!([7]),
        json!({ "a": 7 }),
        json!(true),
        json!("x".repeat(60_000)),
        json!(""),
    ]
}

#[tokio::test]
async fn no_state_of_another_server_makes_a_room_unreadable() {
    let mut taken_in = 0;
    for version in ["9", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, third, evil, ada, mallory, room, .. } = &scene;
        let mut levels = json!({ "users": { mallory.as_str(): 100 } });
        if version != "12" {
            levels["users"][ada.as_str()] = json!(100);
        }
        let promoted = us.send(ada, room, "m.room.power_levels", Some(""), levels.clone()).await;
        third.has_event(room, &promoted).await;
        for (event_type, key, field) in FIELDS {
            for (round, value) in values().into_iter().enumerate() {
                let case = format!("version {version}, {event_type} {field} {round}");
                let mut content = json!({ field: value });
                if event_type == "m.room.member" && field != "membership" {
                    content["membership"] = json!("join");
                }
                if event_type == "m.room.power_levels" {
                    content["users"] = levels["users"].clone();
                }
                let draft = evil.draft(us, room, mallory, event_type, Some(key), content).await;
                let pdu = evil.sign(&draft);
                let txn = encoded(&pdu.event_id().as_str()[1..12]);
                for region in [us, third] {
                    evil.send(region, &txn, &[pdu.json().clone()], &[]).await.ok(&case);
                }
                let seen = us.seen(room, ada).await;
                taken_in += usize::from(seen.timeline.contains(pdu.event_id()));
                is_readable(&scene, &case).await;
            }
            let before = scene.seen().await;
            scene.assert_nothing_but_honest_traffic(&before, event_type).await;
        }
    }
    assert!(taken_in > 150, "{taken_in} of it was no use, the others were refused");
}

/// What users and servers ask a room for.
async fn is_readable(scene: &Scene, case: &str) {
    let Scene { us, evil, ada, room, .. } = scene;
    let at = us.view(room).await.extremities[0].clone();
    for uri in [
        format!("{}?event_id={}", path("v1/state", &[room.as_str()]), encoded(at.as_str())),
        "/_matrix/federation/v1/publicRooms".to_owned(),
        format!("{}?limit=5&v={}", path("v1/backfill", &[room.as_str()]), encoded(at.as_str())),
    ] {
        evil.get(us, &uri).await.ok(&format!("{case}: {uri}"));
    }
    us.rooms.state(ada, room).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    us.rooms.joined_members(ada, room).await.unwrap_or_else(|error| panic!("{case}: {error}"));
}
