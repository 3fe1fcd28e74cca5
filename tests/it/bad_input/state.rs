//! Wrong types in every state event that the server reads: whatever is accepted breaks no sync.

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

/// The type, the state key, and the field that the server or its clients look at.
const FIELDS: [(&str, &str, &str); 16] = [
    ("m.room.name", "", "name"),
    ("m.room.topic", "", "topic"),
    ("m.room.avatar", "", "url"),
    ("m.room.member", "@ada:x.test", "membership"),
    ("m.room.member", "@ada:x.test", "displayname"),
    ("m.room.power_levels", "", "users"),
    ("m.room.join_rules", "", "join_rule"),
    ("m.room.history_visibility", "", "history_visibility"),
    ("m.room.canonical_alias", "", "alias"),
    ("m.room.encryption", "", "algorithm"),
    ("m.room.server_acl", "", "allow"),
    ("m.room.tombstone", "", "replacement_room"),
    ("m.room.create", "", "creator"),
    ("m.space.child", "!x:x.test", "via"),
    ("m.room.pinned_events", "", "pinned"),
    ("m.room.guest_access", "", "guest_access"),
];

fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("null", json!(null)),
        ("an integer", json!(7)),
        ("a float", json!(1.5)),
        ("a list", json!([7])),
        ("an object", json!({ "a": 7 })),
        ("a boolean", json!(true)),
        ("60 kB", json!("x".repeat(60_000))),
        ("an empty text", json!("")),
    ]
}

/// Everything that clients ask a room for.
async fn is_readable(user: &User<'_>, room: &str, since: &str, row: &str) -> String {
    let seg = segment(room);
    for path in [
        "/v3/sync?set_presence=offline".to_owned(),
        format!("/v3/rooms/{seg}/state"),
        format!("/v3/rooms/{seg}/members"),
        format!("/v3/rooms/{seg}/joined_members"),
        format!("/v3/rooms/{seg}/messages?dir=b&limit=5"),
        format!("/v1/rooms/{seg}/hierarchy"),
        "/v3/publicRooms".to_owned(),
    ] {
        let answer = user.get(&path).await;
        assert_eq!(answer.status, 200, "{row}: {path}: {}", answer.body);
    }
    let delta = user.sync(since, 0).await;
    delta["next_batch"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn no_state_breaks_anybodys_sync() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    for (event_type, key, field) in FIELDS {
        let body = json!({ "preset": "public_chat", "visibility": "public" });
        let room = ada.create_room(body).await;
        bob.join(&room).await.ok();
        let mut since = bob.token_now().await;
        for (name, value) in values() {
            let row = format!("{event_type} {field} = {name}");
            let mut content = json!({ field: value });
            if event_type == "m.room.member" && field != "membership" {
                content["membership"] = json!("join");
            }
            let path = format!("/v3/rooms/{}/state/{event_type}/{}", segment(&room), segment(key));
            let before = bob.witness(&room).await;
            let answer = ada.call(Method::PUT, &path, content.to_string()).await;
            if answer.status != 200 {
                assert!(answer.status.is_client_error(), "{row}: {}", answer.body);
                assert!(answer.body["errcode"].is_string(), "{row}: {}", answer.body);
                assert_eq!(bob.witness(&room).await, before, "{row}");
            }
            since = is_readable(&bob, &room, &since, &row).await;
        }
        ada.post(&format!("/v3/rooms/{}/leave", segment(&room)), json!({})).await.ok();
    }
}
