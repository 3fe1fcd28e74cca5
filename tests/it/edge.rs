//! The HTTP edge: rates, cross-origin headers, and clients that dribble.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use meridian::Limits;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::{
    server::{PATIENCE, Server},
    socket::serve_pipe,
    user::message_path,
};

#[tokio::test]
async fn rates_are_limited_where_that_is_configured() {
    let tight =
        "[rate_limits]\nmessage = [0.001, 2]\nlogin = [0.001, 2]\nroom_creation = [0.001, 1]\n";
    for (sections, limited) in
        [(tight, true), ("[rate_limits]\nenabled = false\nmessage = [0.001, 2]\n", false)]
    {
        let server = Server::with(sections).await;
        let ada = server.user("ada").await;
        let room = ada.create_room(json!({})).await;
        for number in 0..2 {
            ada.say(&room, &number.to_string(), "within the burst").await;
        }
        let third = ada.put(&message_path(&room, "2"), json!({})).await;
        if !limited {
            third.ok();
            continue;
        }
        let seconds: u64 =
            third.headers["Retry-After"].to_str().expect("text").parse().expect("seconds");
        let body = third.refused("the third message", 429, "M_LIMIT_EXCEEDED");
        let ms = body["retry_after_ms"].as_u64().expect("a time");
        assert!(ms > 0 && seconds * 1000 >= ms, "{seconds} s, {ms} ms");
        ada.post("/v3/createRoom", json!({})).await.refused("a room", 429, "M_LIMIT_EXCEEDED");
        for _ in 0..2 {
            server.post("/v3/login", json!({})).await.refused("a login", 400, "M_BAD_JSON");
        }
        server.post("/v3/login", json!({})).await.refused("a login", 429, "M_LIMIT_EXCEEDED");
    }
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down_per_account() {
    let server = Server::with("[rate_limits]\nfailed_login = [0.001, 2]\n").await;
    server.user_with_password("ada", "correct horse").await;
    server.user_with_password("bob", "correct horse").await;
    let login = |name: &str, password: &str| {
        json!({
            "type": "m.login.password", "password": password,
            "identifier": { "type": "m.id.user", "user": name },
        })
    };
    for _ in 0..3 {
        server.post("/v3/login", login("ada", "wrong")).await.refused(
            "a guess",
            403,
            "M_FORBIDDEN",
        );
    }
    let refused = server.post("/v3/login", login("ada", "correct horse")).await;
    refused.refused("after too many guesses", 429, "M_LIMIT_EXCEEDED");
    server.post("/v3/login", login("bob", "correct horse")).await.ok();
}

#[tokio::test]
async fn any_origin_may_read_answers_and_errors() {
    let server = Server::start().await;
    let paths = ["/versions", "/v3/nothing", "/v3/sync", "/v3/account/whoami"];
    for path in paths {
        let uri = format!("http://{}/_matrix/client{path}", server.address);
        for method in [Method::GET, Method::DELETE] {
            let request = Request::builder()
                .method(method.clone())
                .uri(&uri)
                .header("Origin", "https://app.test");
            let answer =
                server.send_request(request.body(Full::default()).expect("a request")).await;
            assert_eq!(answer.headers["Access-Control-Allow-Origin"], "*", "{method} {path}");
            assert!(!answer.headers.contains_key("Access-Control-Allow-Credentials"));
        }
        let preflight = Request::builder()
            .method(Method::OPTIONS)
            .uri(&uri)
            .header("Origin", "https://app.test")
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "authorization");
        let answer =
            server.send_request(preflight.body(Full::<Bytes>::default()).expect("a request")).await;
        assert!(answer.status.is_success(), "{path}");
        assert_eq!(answer.headers["Access-Control-Allow-Origin"], "*", "{path}");
        let header = |name: &str| answer.headers[name].to_str().expect("text").to_lowercase();
        for method in ["get", "post", "put", "delete", "options"] {
            assert!(header("Access-Control-Allow-Methods").contains(method), "{method}");
        }
        for name in ["x-requested-with", "content-type", "authorization"] {
            assert!(header("Access-Control-Allow-Headers").contains(name), "{name}");
        }
    }
}

/// In paused time, over a pipe: what waits is only the server's patience.
#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_after_a_minute() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let (mut near, far) = tokio::io::duplex(65_536);
    serve_pipe(&server, far);
    let head = format!(
        "POST /_matrix/client/v3/createRoom HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        ada.token
    );
    near.write_all(head.as_bytes()).await.expect("written");
    tokio::time::pause();
    let sent = Instant::now();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.expect("the server answers, and closes");
    let waited = sent.elapsed().as_secs();
    assert!((59..65).contains(&waited), "{waited} s");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("M_UNKNOWN"), "{answer}");
    tokio::time::resume();
    let rooms = ada.get("/v3/joined_rooms").await.ok();
    assert_eq!(rooms["joined_rooms"], json!([]), "no room was made of it");
}

#[tokio::test]
async fn a_client_that_dribbles_its_header_is_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        connections_max: 10,
        drain: Duration::from_secs(1),
    };
    let server = Server::limited("x.test", "", limits).await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.write_all(b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x").await.expect("written");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _closed_or_reset = tokio::time::timeout(PATIENCE, read).await.expect("it ends in time");
    server.get("/versions").await.ok();
}
