//! An event of the greatest size is taken over either transport, and one byte more is not.

use serde_json::{Value, json};

use crate::{
    server::Server,
    socket::Socket,
    user::{User, message_path, segment},
};

const EVENT_BYTES_MAX: usize = 65_536;

/// The newest event of the room as other servers would get it, whose size is what is limited.
async fn newest_pdu(user: &User<'_>, room: &str) -> Value {
    let filter = json!({
        "event_format": "federation",
        "room": { "rooms": [room], "timeline": { "limit": 1 } },
    });
    let path = format!("/v3/sync?set_presence=offline&filter={}", segment(&filter.to_string()));
    let mut sync = user.get(&path).await.ok();
    let mut event = sync["rooms"]["join"][room]["timeline"]["events"][0].take();
    if let Some(event) = event.as_object_mut() {
        // Neither is sent to other servers.
        event.remove("unsigned");
        event.remove("event_id");
    }
    assert!(event["hashes"].is_object() && event["signatures"].is_object(), "{event}");
    event
}

/// How long the body of a message may be in the room as it is.
async fn longest_body(user: &User<'_>, room: &str) -> usize {
    user.say(room, "short", "x").await;
    EVENT_BYTES_MAX + 1 - newest_pdu(user, room).await.to_string().len()
}

/// A room in which `depth` has two digits for a while.
async fn room(user: &User<'_>) -> String {
    let room = user.create_room(json!({})).await;
    for number in 0..10 {
        user.say(&room, &number.to_string(), "deeper").await;
    }
    room
}

fn content(body_bytes: usize) -> Value {
    json!({ "msgtype": "m.text", "body": "x".repeat(body_bytes) })
}

#[tokio::test]
async fn over_http() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = room(&ada).await;
    let longest = longest_body(&ada, &room).await;
    ada.put(&message_path(&room, "longest"), content(longest)).await.ok();
    let taken = newest_pdu(&ada, &room).await;
    assert_eq!(taken.to_string().len(), EVENT_BYTES_MAX);
    let refused = ada.put(&message_path(&room, "longer"), content(longest + 1)).await;
    refused.refused("one byte more", 413, "M_TOO_LARGE");
    assert_eq!(newest_pdu(&ada, &room).await, taken);
}

#[tokio::test]
async fn over_the_websocket() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = room(&ada).await;
    let longest = longest_body(&ada, &room).await;
    let mut socket = Socket::open(&ada).await;
    let send = |body_bytes: usize| json!({ "room_id": room, "event_type": "m.room.message", "content": content(body_bytes) });
    let answer = socket.request("send", send(longest)).await;
    assert!(Socket::result(&answer)["event_id"].is_string(), "{answer}");
    let taken = newest_pdu(&ada, &room).await;
    assert_eq!(taken.to_string().len(), EVENT_BYTES_MAX);
    let refused = socket.request("send", send(longest + 1)).await;
    assert_eq!(refused["error"]["errcode"], "M_TOO_LARGE", "{refused}");
    assert_eq!(newest_pdu(&ada, &room).await, taken);
}
