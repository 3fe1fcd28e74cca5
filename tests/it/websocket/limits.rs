//! What one socket may take, and how it ends when it takes more.

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    server::Server,
    socket::{Closed, Socket},
};

const FRAME_BYTES_MAX: usize = 65_536 + 1024;

async fn open_one() -> (Server, String) {
    let server = Server::start().await;
    let token = server.user("ada").await.token;
    (server, token)
}

async fn socket(server: &Server, token: &str) -> Socket {
    let ask = crate::socket::Ask { token: Some(token), ..Default::default() };
    Socket::ask(server, ask).await.expect("the socket opens")
}

#[tokio::test]
async fn junk_is_answered_and_the_socket_lives() {
    let (server, token) = open_one().await;
    let mut socket = socket(&server, &token).await;
    let nested = format!(r#"{{"id":"1","method":"ping","params":{}}}"#, deep(32_000));
    let rows = [
        ("{", "M_NOT_JSON"),
        ("", "M_NOT_JSON"),
        ("\u{0}", "M_NOT_JSON"),
        ("7", "M_BAD_JSON"),
        (r#"{"id":7,"method":"ping"}"#, "M_INVALID_PARAM"),
        (r#"{"id":"1","method":[]}"#, "M_BAD_JSON"),
        (nested.as_str(), "M_BAD_JSON"),
    ];
    for (text, errcode) in rows {
        socket.send_message(Message::text(text)).await;
        let answer = socket.frame_where(|frame| frame["id"] == Value::Null).await;
        let start: String = text.chars().take(40).collect();
        assert_eq!(answer["error"]["errcode"], errcode, "{start}: {answer}");
    }
    let long = socket.request_as(&"x".repeat(255), "ping", json!({})).await;
    assert_eq!(long["result"], json!({}));
}

fn deep(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[tokio::test]
async fn a_frame_may_be_as_large_as_an_event_and_what_is_around_it() {
    let (server, token) = open_one().await;
    let frame = |bytes: usize| {
        let (head, tail) = (r#"{"id":"1","method":"ping","params":{"x":""#, r#""}}"#);
        format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len()))
    };
    let mut largest = socket(&server, &token).await;
    largest.send_message(Message::text(frame(FRAME_BYTES_MAX))).await;
    let answer = largest.frame_where(|frame| frame["id"] == "1").await;
    assert_eq!(answer["result"], json!({}));
    for bytes in [FRAME_BYTES_MAX + 1, 200_000] {
        let mut larger = socket(&server, &token).await;
        larger.send_message(Message::text(frame(bytes))).await;
        assert_eq!(larger.closed().await, Closed::With(1009), "{bytes} bytes");
    }
}

#[tokio::test]
async fn binary_frames_are_a_protocol_error() {
    let (server, token) = open_one().await;
    let mut socket = socket(&server, &token).await;
    socket.send_message(Message::binary(b"{}".to_vec())).await;
    assert_eq!(socket.closed().await, Closed::With(4000));
}

#[tokio::test]
async fn too_many_frames_end_the_socket_unless_rates_are_off() {
    for (sections, ends) in [("", true), ("[rate_limits]\nenabled = false\n", false)] {
        let server = Server::with(sections).await;
        let ada = server.user("ada").await;
        let mut socket = Socket::open(&ada).await;
        for number in 0..1000 {
            let id = number.to_string();
            socket.send(json!({ "id": id, "method": "ping" })).await;
        }
        if ends {
            assert_eq!(socket.closed().await, Closed::With(4029));
        } else {
            socket.frame_where(|frame| frame["id"] == "999").await;
        }
    }
}

#[tokio::test]
async fn requests_beyond_twenty_are_told_to_come_later() {
    let (server, token) = open_one().await;
    let mut socket = socket(&server, &token).await;
    let ada = crate::user::User::new(&server, &json!({ "access_token": token }));
    let room = ada.create_room(json!({})).await;
    let send = |number: u32| {
        json!({
            "id": format!("m{number}"),
            "method": "send",
            "params": { "room_id": room, "event_type": "m.room.message", "content": {} },
        })
    };
    let (mut done, mut refused) = (0, 0);
    for number in 0..400 {
        socket.send(send(number)).await;
    }
    for _ in 0..400 {
        let answer = socket.frame_where(|frame| frame["id"].is_string()).await;
        if answer["result"]["event_id"].is_string() {
            done += 1;
        } else {
            assert_eq!(answer["error"]["errcode"], "M_LIMIT_EXCEEDED", "{answer}");
            assert!(answer["error"]["retry_after_ms"].is_u64(), "{answer}");
            refused += 1;
        }
    }
    assert!(done >= 20, "{done} done, {refused} refused");
    assert_eq!(done + refused, 400);
}

#[tokio::test]
async fn the_ninth_socket_of_a_device_replaces_the_first() {
    let (server, token) = open_one().await;
    let mut sockets = Vec::new();
    for _ in 0..9 {
        let mut next = socket(&server, &token).await;
        // Answered, so it has its place.
        next.request("ping", json!({})).await;
        sockets.push(next);
    }
    assert_eq!(sockets.remove(0).closed().await, Closed::With(4001));
    for socket in &mut sockets {
        assert_eq!(socket.request("ping", json!({})).await["result"], json!({}));
    }
}

#[tokio::test]
async fn the_thirty_third_socket_of_a_user_replaces_the_first() {
    let server = Server::start().await;
    let mut devices = vec![server.user_with_password("ada", "correct horse").await];
    for name in ["TWO", "THREE", "FOUR", "FIVE"] {
        devices.push(server.log_in("ada", "correct horse", name).await);
    }
    let mut sockets = Vec::new();
    let open_on = [[0; 8], [1; 8], [2; 8], [3; 8]].into_iter().flatten().chain([4]);
    for device in open_on {
        let mut next = Socket::open(&devices[device]).await;
        next.request("ping", json!({})).await;
        sockets.push(next);
    }
    assert_eq!(sockets.len(), 33);
    assert_eq!(sockets.remove(0).closed().await, Closed::With(4001));
    for socket in &mut sockets {
        assert_eq!(socket.request("ping", json!({})).await["result"], json!({}));
    }
}

#[tokio::test]
async fn without_acknowledgements_a_socket_lives_a_minute() {
    let (server, token) = open_one().await;
    let mut socket = Socket::piped(&server, Some(&token), 1 << 20).await;
    socket.start(json!({})).await;
    socket.batch().await;
    tokio::time::pause();
    let sent = Instant::now();
    assert_eq!(socket.closed().await, Closed::With(4008));
    let waited = sent.elapsed().as_secs();
    assert!((59..75).contains(&waited), "{waited} s");
}

/// The server stops writing after ten seconds; whoever then reads on is told.
#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let (server, token) = open_one().await;
    let ada = crate::user::User::new(&server, &json!({ "access_token": token }));
    let room = ada.create_room(json!({})).await;
    for number in 0..8 {
        ada.say(&room, &number.to_string(), &"x".repeat(30_000)).await;
    }
    let mut socket = Socket::piped(&server, Some(&token), 4096).await;
    socket.send(json!({ "method": "sync.start", "params": { "mode": "v3" } })).await;
    tokio::time::pause();
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    assert_eq!(socket.closed().await, Closed::With(4008));
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone() {
    let (server, token) = open_one().await;
    let mut socket = Socket::piped(&server, Some(&token), 1 << 20).await;
    socket.request("ping", json!({})).await;
    tokio::time::pause();
    // Not polled, so it does not answer the server's pings at 25 and 50 seconds.
    tokio::time::sleep(std::time::Duration::from_secs(80)).await;
    assert_eq!(socket.closed().await, Closed::Without);
}
