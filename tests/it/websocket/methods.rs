//! Every method, with its effect on others.

use serde_json::{Value, json};

use crate::{
    server::Server,
    socket::Socket,
    user::{User, event_id, message_path, messages, segment},
};

#[tokio::test]
async fn one_transaction_id_is_one_event_over_both_transports() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let content = json!({ "msgtype": "m.text", "body": "once" });
    let params = json!({
        "room_id": room, "event_type": "m.room.message", "content": content,
    });
    let mut socket = Socket::open(&ada).await;
    let over_socket = socket.request_as("t1", "send", params.clone()).await;
    let first = event_id(Socket::result(&over_socket));
    let over_http = ada.put(&message_path(&room, "t1"), content.clone()).await.ok();
    assert_eq!(event_id(&over_http), first);
    let second = event_id(&ada.put(&message_path(&room, "t2"), content).await.ok());
    let again = socket.request_as("t2", "send", params.clone()).await;
    assert_eq!(event_id(Socket::result(&again)), second);
    assert_eq!(messages(&ada.sync("", 0).await, &room), ["once", "once"]);
    for id in [json!(null), json!("")] {
        socket.send(json!({ "id": id, "method": "send", "params": params })).await;
        let refused = socket.frame_where(|frame| frame["id"] == id).await;
        assert_eq!(refused["error"]["errcode"], "M_MISSING_PARAM", "{refused}");
    }
}

#[tokio::test]
async fn own_events_echo_their_transaction_to_their_device_only() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let since = [ada.token_now().await, bob.token_now().await];
    let params = json!({ "room_id": room, "event_type": "m.room.message", "content": {} });
    let mut socket = Socket::open(&ada).await;
    socket.start(json!({ "since": since[0] })).await;
    Socket::result(&socket.request_as("own-1", "send", params).await);
    let event = |data: &Value| data["rooms"]["join"][&room]["timeline"]["events"][0].clone();
    let echo = event(&socket.batch().await["data"]);
    assert_eq!(echo["unsigned"]["transaction_id"], "own-1", "{echo}");
    let theirs = event(&bob.sync(&since[1], 0).await);
    assert_eq!(theirs["sender"], ada.id);
    assert!(theirs["unsigned"]["transaction_id"].is_null(), "{theirs}");
}

#[tokio::test]
async fn state_is_set_and_a_message_redacted() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let mut socket = Socket::open(&ada).await;
    let state = json!({
        "room_id": room, "event_type": "m.room.topic", "state_key": "", "content": { "topic": "t" },
    });
    let set = event_id(Socket::result(&socket.request("state", state.clone()).await));
    let again = event_id(Socket::result(&socket.request("state", state).await));
    assert_eq!(set, again, "the same state is the same event");
    let topic = ada.get(&format!("/v3/rooms/{}/state/m.room.topic", segment(&room))).await.ok();
    assert_eq!(topic, json!({ "topic": "t" }));

    let said = ada.say(&room, "1", "secret").await;
    let redact = json!({ "room_id": room, "event_id": said, "reason": "why" });
    let first = event_id(Socket::result(&socket.request_as("x", "redact", redact.clone()).await));
    let same = event_id(Socket::result(&socket.request_as("x", "redact", redact).await));
    assert_eq!(first, same);
    let path = format!("/v3/rooms/{}/event/{}", segment(&room), segment(&said));
    let redacted = ada.get(&path).await.ok();
    assert_eq!(redacted["content"], json!({}));
    assert_eq!(redacted["unsigned"]["redacted_because"]["event_id"], first, "{redacted}");
}

/// Two who share a room, and the other's next batch after a request of the first.
async fn effect(method: &str, params: impl Fn(&User<'_>, &str, &str) -> Value) -> Value {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let said = bob.say(&room, "1", "hello").await;
    let since = bob.token_now().await;
    let mut socket = Socket::open(&ada).await;
    let answer = socket.request(method, params(&bob, &room, &said)).await;
    assert_eq!(Socket::result(&answer), &json!({}));
    let mut data = bob.sync(&since, 10_000).await;
    data["room"] = data["rooms"]["join"][&room].take();
    data["said"] = json!(said);
    data
}

#[tokio::test]
async fn typing_is_seen() {
    let data = effect(
        "typing",
        |_, room, _| json!({ "room_id": room, "typing": true, "timeout": 30_000 }),
    )
    .await;
    let event = &data["room"]["ephemeral"]["events"][0];
    assert_eq!(event["content"]["user_ids"], json!(["@ada:x.test"]), "{data}");
}

#[tokio::test]
async fn receipts_are_seen() {
    for method in ["receipt", "read_markers"] {
        let data = effect(method, |_, room, said| {
            json!({ "room_id": room, "type": "m.read", "event_id": said, "m.read": said })
        })
        .await;
        let event = &data["room"]["ephemeral"]["events"][0];
        let said = data["said"].as_str().expect("an id");
        assert!(event["content"][said]["m.read"]["@ada:x.test"].is_object(), "{method}: {data}");
    }
}

#[tokio::test]
async fn to_device_messages_arrive_once() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let since = bob.token_now().await;
    let mut socket = Socket::open(&ada).await;
    let messages = json!({ &bob.id: { "*": { "n": 1 } } });
    let params = json!({ "event_type": "m.test", "messages": messages });
    for _ in 0..2 {
        let answer = socket.request_as("td", "to_device", params.clone()).await;
        assert_eq!(Socket::result(&answer), &json!({}));
    }
    ada.put("/v3/sendToDevice/m.test/td", json!({ "messages": messages })).await.ok();
    let data = bob.sync(&since, 10_000).await;
    let event = json!({ "type": "m.test", "sender": ada.id, "content": { "n": 1 } });
    assert_eq!(data["to_device"]["events"], json!([event]));
}

#[tokio::test]
async fn presence_is_set() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let mut socket = Socket::open(&ada).await;
    let params = json!({ "presence": "unavailable", "status_msg": "lunch", "active": false });
    assert_eq!(Socket::result(&socket.request("presence", params).await), &json!({}));
    let status = ada.get(&format!("/v3/presence/{}/status", segment(&ada.id))).await.ok();
    assert_eq!(status["status_msg"], "lunch", "{status}");
    let junk = socket.request("presence", json!({ "presence": "elsewhere" })).await;
    assert_eq!(junk["error"]["errcode"], "M_INVALID_PARAM");
}

#[tokio::test]
async fn refusals_are_those_of_http() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.create_room(json!({})).await;
    let mut socket = Socket::open(&ada).await;
    let send = |room: &str, content: Value| json!({ "room_id": room, "event_type": "m.room.message", "content": content });
    let rows = [
        ("no method", "nothing", json!({}), "M_UNRECOGNIZED"),
        ("a foreign room", "send", send(&room, json!({})), "M_FORBIDDEN"),
        ("no room id", "send", send("x", json!({})), "M_BAD_JSON"),
        ("no params", "send", json!(null), "M_BAD_JSON"),
        ("a foreign room", "typing", json!({ "room_id": room, "typing": true }), "M_FORBIDDEN"),
        ("no boolean", "typing", json!({ "room_id": room, "typing": 1 }), "M_BAD_JSON"),
        (
            "no user",
            "to_device",
            json!({ "event_type": "m.t", "messages": { "x": {} } }),
            "M_BAD_JSON",
        ),
        (
            "a receipt type",
            "receipt",
            json!({ "room_id": room, "type": "m.junk", "event_id": "$x" }),
            "M_INVALID_PARAM",
        ),
    ];
    for (row, method, params, errcode) in rows {
        let answer = socket.request(method, params).await;
        assert_eq!(answer["error"]["errcode"], errcode, "{method}, {row}: {answer}");
    }
}
