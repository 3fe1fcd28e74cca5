//! RFC 6455 as a client may bend it: bytes that no WebSocket library would send.

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    server::Server,
    socket::{Ask, Closed, Socket},
};

/// A frame with the mask 1, 2, 3, 4.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).expect("a medium frame").to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[tokio::test]
async fn violations_close_with_their_code() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let ten_megabytes = [&[0x81, 0xff][..], &10_000_000_u64.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let large = [b'x'; 40_000];
    let rows = [
        ("a frame without a mask", vec![0x81, 2, b'{', b'}'], 4000),
        ("a reserved bit", frame(0xc1, b"{}"), 4000),
        ("an opcode that is not defined", frame(0x83, b"{}"), 4000),
        ("a text that is no UTF-8", frame(0x81, b"\xff\xff"), 4000),
        (
            "fragments that are no UTF-8",
            [frame(0x01, b"\xc3"), frame(0x80, b"\x28")].concat(),
            4000,
        ),
        ("a fragmented control frame", frame(0x09, b"now"), 4000),
        ("a control frame that is too long", frame(0x89, &[b'x'; 126]), 4000),
        ("a fragment of nothing", frame(0x80, b"{}"), 4000),
        ("a text within a text", [frame(0x01, b"{"), frame(0x81, b"{}")].concat(), 4000),
        ("half a close code", frame(0x88, &[3]), 4000),
        ("a close code that is not to be sent", frame(0x88, &1005_u16.to_be_bytes()), 4000),
        ("the announcement of ten megabytes", ten_megabytes, 1009),
        (
            "fragments that become too long",
            [frame(0x01, &large), frame(0x80, &large)].concat(),
            1009,
        ),
    ];
    for (row, bytes, code) in rows {
        for token in [Some(ada.token.as_str()), None] {
            let ask = Ask { token, ..Ask::default() };
            let mut socket = Socket::ask(&server, ask).await.expect("the socket opens");
            socket.send_bytes(&bytes).await;
            let who = if token.is_some() { "ada" } else { "nobody yet" };
            assert_eq!(socket.closed().await, Closed::With(code), "{row}, by {who}");
        }
    }
}

#[tokio::test]
async fn fragments_are_put_together_and_pings_answered_in_between() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let mut socket = Socket::open(&ada).await;
    let text = r#"{"id":"ü","method":"ping"}"#.as_bytes();
    // Within the letter.
    let (head, tail) = text.split_at(8);
    assert!(std::str::from_utf8(head).is_err());
    socket.send_bytes(&frame(0x01, head)).await;
    socket.send_bytes(&frame(0x89, b"between")).await;
    assert_eq!(socket.pong().await, b"between");
    for byte in frame(0x80, tail) {
        socket.send_bytes(&[byte]).await;
    }
    let answer = socket.frame_where(|frame| frame["id"] == "ü").await;
    assert_eq!(answer["result"], json!({}));
}

/// The answer repeats what was said.
#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let close = |code: CloseCode| Some(CloseFrame { code, reason: "bye".into() });
    let rows = [
        (None, Closed::Without),
        (close(CloseCode::Normal), Closed::With(1000)),
        (close(CloseCode::Library(4242)), Closed::With(4242)),
    ];
    for (said, answered) in rows {
        for token in [Some(ada.token.as_str()), None] {
            let ask = Ask { token, ..Ask::default() };
            let mut socket = Socket::ask(&server, ask).await.expect("the socket opens");
            socket.send_message(Message::Close(said.clone())).await;
            assert_eq!(socket.closed().await, answered);
        }
    }
}
