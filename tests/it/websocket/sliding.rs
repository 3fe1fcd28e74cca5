//! Sliding sync over a socket.

use serde_json::{Value, json};

use crate::{
    server::Server,
    socket::{Closed, Socket},
    user::User,
};

const STABLE: &str = "/v4/sync";

fn list(last: u64) -> Value {
    json!({"range": [0, last], "timeline_limit": 5, "required_state": {}})
}

fn body(last: u64) -> Value {
    json!({"conn_id": "main", "set_presence": "offline", "lists": {"all": list(last)}})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

async fn start(socket: &mut Socket, params: Value) {
    let answer = socket.request("sync.start", with(params, "mode", json!("sliding"))).await;
    assert_eq!(Socket::result(&answer), &json!({}));
}

async fn update(socket: &mut Socket, params: Value) {
    Socket::result(&socket.request("sync.update", params).await);
}

fn rooms(data: &Value) -> Vec<&str> {
    data["rooms"].as_object().expect("rooms").keys().map(String::as_str).collect()
}

fn said<'a>(data: &'a Value, room: &str) -> Vec<&'a str> {
    let events = data["rooms"][room]["timeline"].as_array().into_iter().flatten();
    events.filter_map(|event| event["content"]["body"].as_str()).collect()
}

async fn rooms_of(user: &User<'_>, count: usize) -> Vec<String> {
    let mut rooms = Vec::new();
    for _ in 0..count {
        rooms.push(user.create_room(json!({})).await);
    }
    rooms
}

#[tokio::test]
async fn windows_grow_and_news_come_by_themselves() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let all = rooms_of(&ada, 4).await;
    let mut socket = Socket::open(&ada).await;
    start(&mut socket, body(1)).await;
    let first = socket.batch().await;
    assert_eq!((&first["seq"], &first["data"]["lists"]["all"]["count"]), (&json!(1), &json!(4)));
    assert_eq!(rooms(&first["data"]).len(), 2);
    socket.ack(&first).await;
    update(&mut socket, json!({"lists": {"all": list(3)}})).await;
    let second = socket.batch().await;
    assert_eq!(rooms(&second["data"]).len(), 2, "the others");
    socket.ack(&second).await;
    ada.say(&all[0], "1", "hello").await;
    let third = socket.batch().await;
    assert_eq!(said(&third["data"], &all[0]), ["hello"]);
    let stopped = socket.request("sync.stop", json!({})).await;
    assert_eq!(Socket::result(&stopped)["pos"], third["data"]["pos"]);
}

/// What is asked for meanwhile is as little queued as what happens.
#[tokio::test]
async fn a_full_window_makes_one_batch_of_everything() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let all = rooms_of(&ada, 4).await;
    let mut socket = Socket::open(&ada).await;
    start(&mut socket, with(body(0), "window", json!(1))).await;
    let first = socket.batch().await;
    assert_eq!(rooms(&first["data"]), [all[3].as_str()]);
    update(&mut socket, json!({"lists": {"all": list(1)}})).await;
    update(&mut socket, json!({"lists": {"all": list(2)}})).await;
    for text in ["one", "two"] {
        ada.say(&all[3], text, text).await;
    }
    assert!(!socket.has_batch().await, "the window is full");
    socket.ack(&first).await;
    let second = socket.batch().await;
    assert_eq!(said(&second["data"], &all[3]), ["one", "two"]);
    assert_eq!(rooms(&second["data"]).len(), 3);
    assert!(!socket.has_batch().await, "the window is full again");
    socket.ack(&second).await;
    assert!(!socket.has_batch().await, "nothing is left");
}

/// Connections are cut after every few batches, before their acknowledgement or after it.
#[tokio::test]
async fn nothing_is_lost_or_doubled_over_cuts_and_transports() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.room_with(&[&ada]).await;
    let asked = |pos: &Value, since: &Value| {
        let to_device = json!({"to_device": {"enabled": true, "since": since}});
        with(with(body(9), "pos", pos.clone()), "extensions", to_device)
    };
    let (mut pos, mut since) = (Value::Null, Value::Null);
    let (mut heard, mut received) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let name = round.to_string();
        bob.say(&room, &name, &name).await;
        let messages = json!({ &ada.id: { &ada.device: { "body": name } } });
        let path = format!("/v3/sendToDevice/m.test/{name}");
        bob.put(&path, json!({ "messages": messages })).await.ok();
        // Every third time over HTTP.
        let mut socket = None;
        let (data, frame) = if round % 3 == 2 {
            (ada.post(STABLE, asked(&pos, &since)).await.ok(), Value::Null)
        } else {
            let socket = socket.insert(Socket::open(&ada).await);
            start(socket, asked(&pos, &since)).await;
            let frame = socket.batch().await;
            (frame["data"].clone(), frame)
        };
        if round % 2 == 0 {
            heard.extend(said(&data, &room).into_iter().map(str::to_owned));
            let to_device = &data["extensions"]["to_device"];
            let events = to_device["events"].as_array().into_iter().flatten();
            received.extend(events.map(|event| event["content"]["body"].clone()));
            (pos, since) = (data["pos"].clone(), to_device["next_batch"].clone());
            // Whether it arrives makes no difference.
            if let (Some(socket), 0) = (&mut socket, round % 4) {
                socket.ack(&frame).await;
            }
        }
        if let Some(socket) = socket {
            socket.cut();
        }
    }
    let last = ada.post(STABLE, asked(&pos, &since)).await.ok();
    heard.extend(said(&last, &room).into_iter().map(str::to_owned));
    let events = last["extensions"]["to_device"]["events"].as_array().into_iter().flatten();
    received.extend(events.map(|event| event["content"]["body"].clone()));
    assert_eq!(heard, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(received, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_connection_has_one_socket() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let (mut old, mut new) = (Socket::open(&ada).await, Socket::open(&ada).await);
    // The old one may not send, and hears of it all the same.
    start(&mut old, with(body(9), "window", json!(1))).await;
    let first = old.batch().await;
    start(&mut new, with(body(9), "pos", first["data"]["pos"].clone())).await;
    assert_eq!(old.closed().await, Closed::With(4001));
    ada.say(&room, "1", "hello").await;
    assert_eq!(said(&new.batch().await["data"], &room), ["hello"]);
    // Another name, and on one socket another start, are in nobody's way.
    let mut other = Socket::open(&ada).await;
    start(&mut other, with(body(9), "conn_id", json!("other"))).await;
    other.batch().await;
    start(&mut new, body(9)).await;
    assert_eq!(rooms(&new.batch().await["data"]), [room.as_str()]);
    ada.say(&room, "2", "again").await;
    assert_eq!(said(&new.batch().await["data"], &room), ["again"]);
    assert_eq!(said(&other.batch().await["data"], &room), ["again"]);
}

#[tokio::test]
async fn parameters_are_checked() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.create_room(json!({})).await;
    let mut socket = Socket::open(&ada).await;
    let nothing = socket.request("sync.update", json!({})).await;
    assert_eq!(nothing["error"]["errcode"], "M_NOT_FOUND", "no sync is running");
    let foreign = bob.post(STABLE, body(9)).await.ok()["pos"].clone();
    let old_form = json!({"all": {"ranges": [[0, 9]], "timeline_limit": 1}});
    let to_device = json!({"to_device": {"enabled": true, "since": "junk"}});
    for (row, key, value, errcode) in [
        ("window 0", "window", json!(0), "M_INVALID_PARAM"),
        ("window -1", "window", json!(-1), "M_BAD_JSON"),
        ("a forged pos", "pos", json!("1.2/3"), "M_UNKNOWN_POS"),
        ("bob's pos", "pos", foreign, "M_UNKNOWN_POS"),
        ("the form of before", "lists", old_form, "M_BAD_JSON"),
        (
            "a range backwards",
            "lists",
            json!({"all": with(list(0), "range", json!([1, 0]))}),
            "M_INVALID_PARAM",
        ),
        ("presence", "set_presence", json!("busyish"), "M_INVALID_PARAM"),
        ("messages since junk", "extensions", to_device, "M_INVALID_PARAM"),
    ] {
        let params = with(with(body(9), "mode", json!("sliding")), key, value);
        let answer = socket.request("sync.start", params).await;
        assert_eq!(answer["error"]["errcode"], errcode, "{row}: {answer}");
    }
    start(&mut socket, body(9)).await;
    let first = socket.batch().await;
    let bad = socket.request("sync.update", json!({"lists": {"all": {}}})).await;
    assert_eq!(bad["error"]["errcode"], "M_BAD_JSON");
    socket.ack(&first).await;
    assert!(!socket.has_batch().await, "a refused update changes nothing");
    socket.start(json!({})).await;
    let v3 = socket.request("sync.update", json!({})).await;
    assert_eq!(v3["error"]["errcode"], "M_NOT_FOUND", "it is not that kind of sync");
}
