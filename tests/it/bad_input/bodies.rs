//! Bodies that are no JSON, nested too deeply, too large, or of the wrong form.

use http::Method;
use serde_json::json;

use crate::{
    server::Server,
    user::{User, message_path, segment},
};

struct World<'s> {
    ada: User<'s>,
    bob: User<'s>,
    room: String,
}

impl<'s> World<'s> {
    async fn new(server: &'s Server, version: &str) -> Self {
        let (ada, bob) = (server.user("ada").await, server.user("bob").await);
        let body = json!({ "preset": "public_chat", "room_version": version });
        let room = ada.create_room(body).await;
        bob.join(&room).await.ok();
        Self { ada, bob, room }
    }
}

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1))
}

#[tokio::test]
async fn what_is_no_json_is_refused_everywhere() {
    let server = Server::start().await;
    let World { ada, bob, room } = World::new(&server, "12").await;
    let (user, room_seg) = (segment(&ada.id), segment(&room));
    let paths = [
        (Method::PUT, message_path(&room, "junk")),
        (Method::PUT, format!("/v3/rooms/{room_seg}/state/m.room.topic")),
        (Method::PUT, format!("/v3/rooms/{room_seg}/state/org.test/key")),
        (Method::PUT, format!("/v3/user/{user}/account_data/org.test")),
        (Method::PUT, format!("/v3/user/{user}/rooms/{room_seg}/account_data/org.test")),
        (Method::PUT, format!("/v3/rooms/{room_seg}/typing/{user}")),
        (Method::PUT, format!("/v3/profile/{user}/displayname")),
        (Method::PUT, "/v3/sendToDevice/m.test/junk".to_owned()),
        (Method::POST, format!("/v3/user/{user}/filter")),
        (Method::POST, "/v3/createRoom".to_owned()),
        (Method::POST, format!("/v3/rooms/{room_seg}/invite")),
    ];
    let bodies = ["{", "{]", "{\"a\":}", "\u{0}", "{\"a\":1}x", "{'a':1}", "NaN", "{\"a\":NaN}"];
    let before = bob.witness(&room).await;
    for (method, path) in &paths {
        for body in bodies {
            let answer = ada.call(method.clone(), path, body.to_owned()).await;
            answer.refused(&format!("{path} {body:?}"), 400, "M_NOT_JSON");
        }
        let answer = ada.call(method.clone(), path, nested(32_000)).await;
        answer.refused(&format!("{path}, 32,000 levels"), 400, "M_BAD_JSON");
    }
    assert_eq!(bob.witness(&room).await, before);
}

/// An event has one level more than its content.
#[tokio::test]
async fn events_have_at_most_127_levels() {
    let server = Server::start().await;
    let World { ada, bob, room } = World::new(&server, "12").await;
    let rows =
        [(125, true), (126, true), (127, false), (128, false), (200, false), (32_000, false)];
    for (levels, accepted) in rows {
        let before = bob.witness(&room).await;
        let path = message_path(&room, &levels.to_string());
        let sent = ada.call(Method::PUT, &path, nested(levels)).await;
        let set = ada.set_state(&room, "org.test", &nested(levels)).await;
        if accepted {
            sent.ok();
            set.ok();
            bob.sync("", 0).await;
        } else {
            sent.refused(&format!("{levels} levels"), 400, "M_BAD_JSON");
            set.refused(&format!("{levels} levels of state"), 400, "M_BAD_JSON");
            assert_eq!(bob.witness(&room).await, before, "{levels} levels");
        }
    }
}

#[tokio::test]
async fn numbers_are_integers_that_everybody_can_read() {
    let server = Server::start().await;
    let numbers = [
        ("a float", "1.5"),
        ("a float that is whole", "1.0"),
        ("an exponent", "1e3"),
        ("minus zero", "-0"),
        ("2^53", "9007199254740992"),
        ("-2^53", "-9007199254740992"),
        ("2^64", "18446744073709551616"),
    ];
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    // Old rooms may hold such numbers, but nobody adds to them here.
    for version in ["12", "6", "5", "1"] {
        let body = json!({ "preset": "public_chat", "room_version": version });
        let room = ada.create_room(body).await;
        bob.join(&room).await.ok();
        for (row, number) in numbers {
            let before = bob.witness(&room).await;
            let content = format!("{{\"n\":{number}}}");
            let path = message_path(&room, &format!("{version} {row}"));
            let answer = ada.call(Method::PUT, &path, content.clone()).await;
            answer.refused(&format!("version {version}, {row}"), 400, "M_BAD_JSON");
            let set = ada.set_state(&room, "org.test", &content).await;
            set.refused(&format!("version {version}, {row} as state"), 400, "M_BAD_JSON");
            assert_eq!(bob.witness(&room).await, before, "version {version}, {row}");
        }
    }
}

#[tokio::test]
async fn events_are_small() {
    let server = Server::start().await;
    let World { ada, bob, room } = World::new(&server, "12").await;
    let before = bob.witness(&room).await;
    for bytes in [65_537, 200_000] {
        let body = json!({ "body": "x".repeat(bytes) });
        let answer = ada.put(&message_path(&room, "large"), body).await;
        answer.refused(&format!("{bytes} bytes"), 413, "M_TOO_LARGE");
    }
    assert_eq!(bob.witness(&room).await, before);
    ada.put(&message_path(&room, "small"), json!({ "body": "x".repeat(60_000) })).await.ok();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let server = Server::unlimited_with("[http]\nbody_mib_max = 1\n").await;
    let World { ada, bob, room } = World::new(&server, "12").await;
    let before = bob.witness(&room).await;
    let body = json!({ "body": "x".repeat((1 << 20) + 1) });
    let answer = ada.put(&message_path(&room, "huge"), body).await;
    answer.refused("a mebibyte and some", 413, "M_TOO_LARGE");
    assert_eq!(bob.witness(&room).await, before);
}

#[tokio::test]
async fn log_ins_of_the_wrong_form_are_refused() {
    let server = Server::start().await;
    server.user_with_password("ada", "correct horse").await;
    let user = r#""identifier":{"type":"m.id.user","user":"ada"}"#;
    let password = |rest: &str| format!(r#"{{"type":"m.login.password",{rest}}}"#);
    let rows = [
        ("nothing", String::new(), 400, "M_NOT_JSON"),
        ("an empty object", "{}".to_owned(), 400, "M_BAD_JSON"),
        ("a list", "[]".to_owned(), 400, "M_BAD_JSON"),
        ("null", "null".to_owned(), 400, "M_BAD_JSON"),
        ("a type that is a number", r#"{"type":7}"#.to_owned(), 400, "M_BAD_JSON"),
        ("an unknown type", r#"{"type":"m.login.magic"}"#.to_owned(), 400, "M_UNKNOWN"),
        ("no identifier", password(r#""password":"x""#), 400, "M_MISSING_PARAM"),
        ("no password", password(user), 400, "M_MISSING_PARAM"),
        ("a password of a list", password(&format!(r#"{user},"password":[]"#)), 400, "M_BAD_JSON"),
        ("a wrong one", password(&format!(r#"{user},"password":"x""#)), 403, "M_FORBIDDEN"),
        ("an empty one", password(&format!(r#"{user},"password":"""#)), 403, "M_FORBIDDEN"),
        (
            "a long one",
            password(&format!(r#"{user},"password":"{}""#, "x".repeat(100_000))),
            403,
            "M_FORBIDDEN",
        ),
        ("no login token", r#"{"type":"m.login.token"}"#.to_owned(), 400, "M_MISSING_PARAM"),
        ("junk", r#"{"type":"m.login.token","token":"x"}"#.to_owned(), 403, "M_FORBIDDEN"),
        (
            "a foreign device id",
            password(&format!(
                r#"{user},"password":"correct horse","device_id":"{}""#,
                "x".repeat(256)
            )),
            400,
            "M_INVALID_PARAM",
        ),
    ];
    for (row, body, status, errcode) in rows {
        server.post_text("/v3/login", &body).await.refused(row, status, errcode);
    }
}

#[tokio::test]
async fn rooms_are_not_created_from_junk() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let topic =
        |content: serde_json::Value| json!([{ "type": "m.room.topic", "content": content }]);
    let rows = [
        ("visibility", json!(7), "M_BAD_JSON"),
        ("room_alias_name", json!(7), "M_BAD_JSON"),
        ("room_alias_name", json!("a:b"), "M_INVALID_PARAM"),
        ("room_alias_name", json!("x".repeat(256)), "M_INVALID_PARAM"),
        ("name", json!([]), "M_BAD_JSON"),
        ("name", json!("x".repeat(70_000)), "M_TOO_LARGE"),
        ("topic", json!({}), "M_BAD_JSON"),
        ("invite", json!("@bob:x.test"), "M_BAD_JSON"),
        ("invite", json!(["bob"]), "M_BAD_JSON"),
        ("room_version", json!(12), "M_BAD_JSON"),
        ("room_version", json!("99"), "M_UNSUPPORTED_ROOM_VERSION"),
        ("creation_content", json!("x"), "M_BAD_JSON"),
        ("creation_content", json!({ "n": 1.5 }), "M_BAD_JSON"),
        ("initial_state", json!({}), "M_BAD_JSON"),
        ("initial_state", json!([7]), "M_BAD_JSON"),
        ("initial_state", json!([{ "content": {} }]), "M_BAD_JSON"),
        ("initial_state", topic(json!(7)), "M_BAD_JSON"),
        ("initial_state", topic(json!({ "topic": 1.5 })), "M_BAD_JSON"),
        ("preset", json!("secret_chat"), "M_BAD_JSON"),
        ("preset", json!(7), "M_BAD_JSON"),
        ("is_direct", json!("yes"), "M_BAD_JSON"),
        ("power_level_content_override", json!([]), "M_BAD_JSON"),
        ("power_level_content_override", json!({ "users": 7 }), "M_BAD_JSON"),
    ];
    let before = ada.sync("", 0).await;
    for (field, value, errcode) in rows {
        let row = format!("{field} = {:.60}", value.to_string());
        let answer = ada.post("/v3/createRoom", json!({ field: value })).await;
        assert!(answer.status.is_client_error(), "{row}: {} {}", answer.status, answer.body);
        assert_eq!(answer.body["errcode"], errcode, "{row}: {}", answer.body);
    }
    assert_eq!(ada.sync("", 0).await, before);
}
