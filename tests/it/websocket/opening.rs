//! The handshake: who may open a socket, and how they say who they are.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    server::Server,
    socket::{Ask, Closed, PATH, Socket},
    user::User,
};

async fn ticket(user: &User<'_>) -> String {
    let answer = user.post("/unstable/im.meridian/sync/ws/ticket", json!({})).await.ok();
    assert_eq!(answer["expires_in_ms"], 30_000);
    answer["ticket"].as_str().expect("a ticket").to_owned()
}

async fn works(socket: &mut Socket) {
    let answer = socket.request("ping", json!({})).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
}

#[tokio::test]
async fn it_is_announced() {
    let server = Server::start().await;
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["im.meridian.ws"], true);
}

#[tokio::test]
async fn a_header_authenticates() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    works(&mut Socket::open(&ada).await).await;
    let junk = Ask { token: Some("mrd_junk"), ..Ask::default() };
    let refused = Socket::ask(&server, junk).await.err();
    assert_eq!(refused, Some((401, "M_UNKNOWN_TOKEN".to_owned())));
}

#[tokio::test]
async fn a_ticket_works_once_and_for_half_a_minute() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let ask = async |ticket: &str| {
        let path = format!("{PATH}?ticket={ticket}");
        Socket::ask(&server, Ask { path: &path, ..Ask::default() }).await
    };
    let unknown = Some((401, "M_UNKNOWN_TOKEN".to_owned()));
    let first = ticket(&ada).await;
    works(&mut ask(&first).await.expect("a fresh ticket")).await;
    assert_eq!(ask(&first).await.err(), unknown, "a used ticket");
    let late = ticket(&ada).await;
    server.clock.advance(30_000);
    assert_eq!(ask(&late).await.err(), unknown, "an expired ticket");
    assert_eq!(ask("junk").await.err(), unknown, "no ticket");
    let ended = ticket(&ada).await;
    ada.post("/v3/logout", json!({})).await.ok();
    let mut socket = ask(&ended).await.expect("the ticket is known");
    assert_eq!(socket.closed().await, Closed::With(4004));
}

#[tokio::test]
async fn the_first_frame_authenticates_or_ends() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let mut socket = Socket::ask(&server, Ask::default()).await.expect("the socket opens");
    let answer = socket.request("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(answer["result"], json!({ "user_id": ada.id, "device_id": ada.device }));
    works(&mut socket).await;

    let frames = [
        ("another method", Message::text(r#"{"id":"1","method":"ping"}"#), 4003),
        ("no JSON", Message::text("{"), 4003),
        ("no token", Message::text(r#"{"id":"1","method":"auth","params":{}}"#), 4003),
        (
            "a number",
            Message::text(r#"{"id":"1","method":"auth","params":{"access_token":7}}"#),
            4003,
        ),
        (
            "junk",
            Message::text(r#"{"id":"1","method":"auth","params":{"access_token":"x"}}"#),
            4004,
        ),
        ("binary", Message::binary(vec![1, 2, 3]), 4000),
    ];
    for (row, frame, code) in frames {
        let mut socket = Socket::ask(&server, Ask::default()).await.expect("the socket opens");
        socket.send_message(frame).await;
        assert_eq!(socket.closed().await, Closed::With(code), "{row}");
    }
}

#[tokio::test]
async fn an_expired_token_is_a_soft_logout() {
    let server = Server::start().await;
    let body = json!({
        "username": "ada", "refresh_token": true, "auth": { "type": "m.login.dummy" },
    });
    let ada = User::new(&server, &server.post("/v3/register", body).await.ok());
    server.clock.advance(2 * 60 * 60 * 1000);
    let mut socket = Socket::ask(&server, Ask::default()).await.expect("the socket opens");
    let answer = socket.request("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(answer["error"]["errcode"], "M_UNKNOWN_TOKEN");
    assert_eq!(answer["error"]["soft_logout"], true);
    assert_eq!(socket.closed().await, Closed::With(4005));
}

#[tokio::test]
async fn whoever_says_nothing_is_closed_after_ten_seconds() {
    let server = Server::start().await;
    let mut socket = Socket::piped(&server, None, 65_536).await;
    tokio::time::pause();
    let opened = Instant::now();
    assert_eq!(socket.closed().await, Closed::With(4003));
    let waited = opened.elapsed();
    assert!((9..15).contains(&waited.as_secs()), "{waited:?}");
    assert!(waited >= Duration::from_millis(9_900), "{waited:?}");
}

#[tokio::test]
async fn the_subprotocol_is_chosen_or_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let rows = [
        ("ours", Some("im.meridian.v1.json"), Some("im.meridian.v1.json")),
        ("the draft's", Some("m.json"), Some("m.json")),
        ("ours first", Some("im.meridian.v1.json, m.json"), Some("im.meridian.v1.json")),
        ("ours last", Some("m.json, im.meridian.v1.json"), Some("im.meridian.v1.json")),
        ("none", None, None),
        ("another", Some("chat"), None),
    ];
    for (row, protocols, chosen) in rows {
        let ask = Ask { token: Some(&ada.token), protocols, ..Ask::default() };
        match (Socket::ask(&server, ask).await, chosen) {
            (Ok(socket), Some(chosen)) => {
                assert_eq!(socket.protocol.as_deref(), Some(chosen), "{row}")
            }
            (Err(refused), None) => {
                assert_eq!(refused, (400, "M_INVALID_PARAM".to_owned()), "{row}");
            }
            (opened, _) => panic!("{row}: opened: {}", opened.is_ok()),
        }
    }
}

#[tokio::test]
async fn the_draft_gets_bare_answers_from_the_query() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let ask = Ask { token: Some(&ada.token), protocols: Some("m.json"), ..Ask::default() };
    let mut socket = Socket::ask(&server, ask).await.expect("the socket opens");
    let first = socket.frame_where(|frame| !frame["next_batch"].is_null()).await;
    assert!(first["rooms"]["join"][&room].is_object(), "{first}");
    let path = format!("{PATH}?since=junk");
    let mut socket = Socket::ask(&server, Ask { path: &path, ..ask }).await.expect("it opens");
    let refused = socket.frame_where(|frame| frame["id"] == Value::Null).await;
    assert_eq!(refused["error"]["errcode"], "M_UNKNOWN_POS");
    assert_eq!(socket.closed().await, Closed::With(4000));
}

#[tokio::test]
async fn anything_but_an_upgrade_is_an_ordinary_error() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    for method in [Method::GET, Method::POST] {
        let answer = server.send(method, PATH, Some(&ada.token), "").await;
        answer.refused("no upgrade", 426, "M_UNRECOGNIZED");
    }
    for path in ["/_matrix/client/unstable/stream", "/_matrix/client/ws/r0"] {
        let refused = Socket::ask(&server, Ask { path, ..Ask::default() }).await.err();
        assert_eq!(refused, Some((404, "M_UNRECOGNIZED".to_owned())), "{path}");
    }
}

#[tokio::test]
async fn the_legacy_paths_take_a_token_in_the_query() {
    let server = Server::unlimited_with("[http]\nlegacy_websocket = true\n").await;
    let ada = server.user("ada").await;
    for path in ["/_matrix/client/unstable/stream", "/_matrix/client/ws/r0"] {
        let with_token = format!("{path}?access_token={}", ada.token);
        let ask = Ask { path: &with_token, token: None, protocols: None };
        let mut socket = Socket::ask(&server, ask).await.expect("the socket opens");
        socket.frame_where(|frame| !frame["next_batch"].is_null()).await;
        let refused = Socket::ask(&server, Ask { path, ..ask }).await.err();
        assert_eq!(refused, Some((401, "M_MISSING_TOKEN".to_owned())), "{path}");
    }
}
