//! Names that are too long or hold what names must not.

use http::Method;
use serde_json::json;

use crate::{server::Server, user::segment};

#[tokio::test]
async fn user_names_follow_the_grammar() {
    let server = Server::start().await;
    let rows = [
        ("empty", ""),
        ("a space", "a b"),
        ("a newline", "ada\n"),
        ("Cyrillic", "\u{430}da"),
        ("right to left", "a\u{202e}da"),
        ("NUL", "ada\0"),
        ("a colon", "ada:x.test"),
        ("a sigil", "@ada"),
        ("a bridge's", "_ada"),
    ];
    for (row, name) in rows {
        let body = json!({ "username": name, "auth": { "type": "m.login.dummy" } });
        server.post("/v3/register", body).await.refused(row, 400, "M_INVALID_USERNAME");
        let path = format!("/v3/register/available?username={}", segment(name));
        server.get(&path).await.refused(row, 400, "M_INVALID_USERNAME");
    }
    // In the grammar, and no path is ever made of it.
    let path = server.user("/../").await;
    assert_eq!(path.get("/v3/account/whoami").await.ok()["user_id"], "@/../:x.test");
    let profile = path.get(&format!("/v3/profile/{}", segment(&path.id))).await;
    assert_ne!(profile.status, 500, "{}", profile.body);
    let long = json!({ "username": "x".repeat(256), "auth": { "type": "m.login.dummy" } });
    server.post("/v3/register", long).await.refused("256 bytes", 400, "M_INVALID_USERNAME");
    let upper = server.user("Ada").await;
    assert_eq!(upper.id, "@ada:x.test", "upper case is lowered");
    let taken = json!({ "username": "ADA", "auth": { "type": "m.login.dummy" } });
    server.post("/v3/register", taken).await.refused("taken", 400, "M_USER_IN_USE");
}

#[tokio::test]
async fn names_of_256_bytes_are_refused() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let (seg, long) = (segment(&room), "x".repeat(256));
    let user = segment(&ada.id);
    let rows = [
        ("event type", format!("/v3/rooms/{seg}/send/{long}/t")),
        ("state type", format!("/v3/rooms/{seg}/state/{long}")),
        ("state key", format!("/v3/rooms/{seg}/state/org.test/{long}")),
        (
            "state key in two-byte letters",
            format!("/v3/rooms/{seg}/state/org.test/{}", segment(&"é".repeat(128))),
        ),
        ("transaction id", format!("/v3/rooms/{seg}/send/m.room.message/{long}")),
        ("to-device transaction id", format!("/v3/sendToDevice/m.test/{long}")),
        ("redaction's transaction id", format!("/v3/rooms/{seg}/redact/$x/{long}")),
        ("room alias", format!("/v3/directory/room/{}", segment(&format!("#{long}:x.test")))),
        ("account data type", format!("/v3/user/{user}/account_data/{long}")),
        ("tag", format!("/v3/user/{user}/rooms/{seg}/tags/{long}")),
        ("profile field", format!("/v3/profile/{user}/{long}")),
    ];
    let before = bob.witness(&room).await;
    for (row, path) in rows {
        let body = json!({ "room_id": room, "messages": {} }).to_string();
        let answer = ada.call(Method::PUT, &path, body).await;
        assert!(answer.status.is_client_error(), "{row}: {} {}", answer.status, answer.body);
        assert!(answer.body["errcode"].is_string(), "{row}: {}", answer.body);
    }
    assert_eq!(bob.witness(&room).await, before);
}
