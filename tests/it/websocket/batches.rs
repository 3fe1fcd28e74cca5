//! Sync over a socket: batches, acknowledgements, the window, and coming back.

use serde_json::{Value, json};

use crate::{
    server::Server,
    socket::Socket,
    user::{User, messages},
};

#[tokio::test]
async fn batches_are_numbered_and_stop_when_told() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let mut socket = Socket::open(&ada).await;
    let refused = socket.request("sync.stop", json!({})).await;
    assert_eq!(refused["error"]["errcode"], "M_NOT_FOUND");
    socket.start(json!({})).await;
    let first = socket.batch().await;
    assert_eq!(first["seq"], 1);
    assert!(first["data"]["rooms"]["join"][&room].is_object(), "{first}");
    ada.say(&room, "1", "one").await;
    let second = socket.batch().await;
    assert_eq!(second["seq"], 2);
    assert_eq!(messages(&second["data"], &room), ["one"]);
    let stopped = socket.request("sync.stop", json!({})).await;
    assert_eq!(Socket::result(&stopped)["pos"], second["data"]["next_batch"]);
    ada.say(&room, "2", "two").await;
    assert!(!socket.has_batch().await, "a stopped sync is silent");
    // A new sync goes on counting, so that an old acknowledgement cannot mean a new batch.
    socket.ack(&second).await;
    socket.start(json!({ "since": second["data"]["next_batch"] })).await;
    let third = socket.batch().await;
    assert_eq!(third["seq"], 3);
    assert_eq!(messages(&third["data"], &room), ["two"]);
}

#[tokio::test]
async fn parameters_are_checked() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let mut socket = Socket::open(&ada).await;
    let rows = [
        ("no mode", json!({}), "M_BAD_JSON"),
        ("another mode", json!({ "mode": "gliding" }), "M_UNRECOGNIZED"),
        ("window 0", json!({ "mode": "v3", "window": 0 }), "M_INVALID_PARAM"),
        ("window 9", json!({ "mode": "v3", "window": 9 }), "M_INVALID_PARAM"),
        ("window -1", json!({ "mode": "v3", "window": -1 }), "M_BAD_JSON"),
        ("a filter unknown", json!({ "mode": "v3", "filter": "77" }), "M_INVALID_PARAM"),
        ("a filter of junk", json!({ "mode": "v3", "filter": { "room": 7 } }), "M_INVALID_PARAM"),
        ("a filter number", json!({ "mode": "v3", "filter": 7 }), "M_INVALID_PARAM"),
        ("since junk", json!({ "mode": "v3", "since": "junk" }), "M_UNKNOWN_POS"),
        ("since of a number", json!({ "mode": "v3", "since": 7 }), "M_BAD_JSON"),
        ("presence", json!({ "mode": "v3", "set_presence": "busyish" }), "M_INVALID_PARAM"),
        ("no object", json!([]), "M_BAD_JSON"),
    ];
    for (row, params, errcode) in rows {
        let answer = socket.request("sync.start", params).await;
        assert_eq!(answer["error"]["errcode"], errcode, "{row}: {answer}");
    }
    let early = socket.request("sync.ack", json!({ "seq": 1 })).await;
    assert_eq!(early["error"]["errcode"], "M_INVALID_PARAM", "not sent yet");
    assert!(!socket.has_batch().await);
}

/// Two unacknowledged batches close the window; what happens meanwhile is one batch.
#[tokio::test]
async fn a_full_window_waits_and_then_tells_everything_at_once() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.room_with(&[&ada]).await;
    let mut socket = Socket::open(&ada).await;
    socket.start(json!({})).await;
    let first = socket.batch().await;
    bob.say(&room, "0", "0").await;
    let second = socket.batch().await;
    assert_eq!(messages(&second["data"], &room), ["0"]);
    for number in 1..=5 {
        bob.say(&room, &number.to_string(), &number.to_string()).await;
    }
    assert!(!socket.has_batch().await, "the window is full");
    socket.ack(&first).await;
    let third = socket.batch().await;
    assert_eq!(messages(&third["data"], &room), ["1", "2", "3", "4", "5"]);
    assert!(!socket.has_batch().await, "the window is full again");
    bob.say(&room, "6", "6").await;
    socket.ack(&third).await;
    let fourth = socket.batch().await;
    assert_eq!(
        (fourth["seq"].clone(), messages(&fourth["data"], &room)),
        (json!(4), vec!["6".to_owned()])
    );
}

/// One batch may be larger than a mebibyte, but then nothing follows it unacknowledged.
#[tokio::test]
async fn a_mebibyte_closes_the_widest_window() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.room_with(&[&ada]).await;
    let large = "x".repeat(60_000);
    for number in 0..18 {
        bob.say(&room, &number.to_string(), &large).await;
    }
    let with_limit = |limit: u32| json!({ "window": 8, "filter": { "room": { "timeline": { "limit": limit } } } });
    let (mut narrow, mut wide) = (Socket::open(&ada).await, Socket::open(&ada).await);
    narrow.start(with_limit(1)).await;
    wide.start(with_limit(30)).await;
    narrow.batch().await;
    let first = wide.batch().await;
    assert!(first.to_string().len() > 1 << 20, "{} bytes", first.to_string().len());
    bob.say(&room, "next", "next").await;
    // Whoever has little unacknowledged is told at once.
    assert_eq!(messages(&narrow.batch().await["data"], &room), ["next"]);
    assert!(!wide.has_batch().await, "a mebibyte is on its way");
    wide.ack(&first).await;
    assert_eq!(messages(&wide.batch().await["data"], &room), ["next"]);
}

#[tokio::test]
async fn a_window_of_one_sends_one() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let mut socket = Socket::open(&ada).await;
    socket.start(json!({ "window": 1 })).await;
    let first = socket.batch().await;
    ada.say(&room, "1", "1").await;
    assert!(!socket.has_batch().await);
    socket.ack(&first).await;
    assert_eq!(messages(&socket.batch().await["data"], &room), ["1"]);
}

/// Connections are cut after every few batches, before their acknowledgement or after it.
#[tokio::test]
async fn nothing_is_lost_or_doubled_over_cuts() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.room_with(&[&ada]).await;
    let mut since = ada.token_now().await;
    let mut seen = Vec::new();
    for round in 0..6 {
        let mut socket = Socket::open(&ada).await;
        socket.start(json!({ "since": since })).await;
        for number in 0..3 {
            let name = format!("{round}.{number}");
            bob.say(&room, &name, &name).await;
        }
        let batch = socket.batch().await;
        if round % 2 == 0 {
            // Processed; whether the acknowledgement arrives makes no difference.
            seen.extend(messages(&batch["data"], &room));
            since = batch["data"]["next_batch"].as_str().expect("a token").to_owned();
            socket.ack(&batch).await;
        }
        socket.cut();
    }
    // The same position over HTTP.
    seen.extend(messages(&ada.sync(&since, 0).await, &room));
    let sent: Vec<String> =
        (0..6).flat_map(|round| (0..3).map(move |number| format!("{round}.{number}"))).collect();
    assert_eq!(seen, sent);
}

async fn to_device(from: &User<'_>, to: &User<'_>, text: &str) {
    let messages = json!({ &to.id: { &to.device: { "text": text } } });
    let path = format!("/v3/sendToDevice/m.test/{text}");
    from.put(&path, json!({ "messages": messages })).await.ok();
}

fn texts(data: &Value) -> Vec<&str> {
    let events = data["to_device"]["events"].as_array();
    events.into_iter().flatten().filter_map(|event| event["content"]["text"].as_str()).collect()
}

#[tokio::test]
async fn to_device_messages_stay_until_they_are_acknowledged() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let since = ada.token_now().await;
    to_device(&bob, &ada, "one").await;
    for acknowledged in [false, true] {
        let mut socket = Socket::open(&ada).await;
        socket.start(json!({ "since": since })).await;
        let batch = socket.batch().await;
        assert_eq!(texts(&batch["data"]), ["one"], "acknowledged next: {acknowledged}");
        if acknowledged {
            socket.ack(&batch).await;
            assert!(!socket.has_batch().await);
        }
        socket.cut();
    }
    let again = ada.sync(&since, 0).await;
    assert_eq!(texts(&again), Vec::<&str>::new(), "{again}");
}
