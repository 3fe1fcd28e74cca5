//! Events that are sent later (MSC4140), over HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, event_id, messages, segment},
};

const BASE: &str = "/unstable/org.matrix.msc4140";

fn path(room: &str, txn: &str) -> String {
    format!("{BASE}/rooms/{}/delayed_event/m.room.message/{txn}", segment(room))
}

fn body(text: &str, delay_ms: u64) -> Value {
    json!({ "delay_ms": delay_ms, "content": { "msgtype": "m.text", "body": text } })
}

fn delay_id(answer: &Value) -> String {
    answer["delay_id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

async fn find(user: &User<'_>, id: &str) -> Value {
    user.get(&format!("{BASE}/delayed_events/{id}")).await.ok()
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_its_call() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc4140"], true);
    let capabilities = ada.get("/v3/capabilities").await.ok();
    let limits = &capabilities["capabilities"]["org.matrix.msc4140.delayed_events"];
    assert_eq!(limits["max_delay_ms"], 24 * 60 * 60 * 1000);
    let room = ada.room_with(&[&bob]).await;
    let since = bob.token_now().await;
    // As clients do that know the proposal as it was.
    let member = format!(
        "/v3/rooms/{}/state/org.matrix.msc3401.call.member/_{}?org.matrix.msc4140.delay=8000",
        segment(&room),
        segment(&ada.id)
    );
    let state = delay_id(&ada.put(&member, json!({ "left": true })).await.ok());
    let message =
        format!("/v3/rooms/{}/send/m.room.message/1?org.matrix.msc4140.delay=8000", segment(&room));
    let content = json!({ "msgtype": "m.text", "body": "gone" });
    let message = delay_id(&ada.put(&message, content).await.ok());
    let old = json!({ "action": "restart" });
    ada.post(&format!("{BASE}/delayed_events/{state}"), old).await.ok();
    ada.post(&format!("{BASE}/delayed_events/{message}/restart"), json!({})).await.ok();
    assert_eq!(messages(&bob.sync(&since, 0).await, &room), Vec::<String>::new());
    server.clock.advance(8000);
    // The clock of a test stands still, and is looked at when something else is scheduled.
    ada.put(&path(&room, "2"), body("soon", 1)).await.ok();
    // Both have the same time, so either may be the first.
    let left = |told: &Value| {
        let timeline = told["rooms"]["join"][&room]["timeline"]["events"].as_array();
        let left = |event: &&Value| event["type"] == "org.matrix.msc3401.call.member";
        timeline.and_then(|events| events.iter().find(left)).cloned()
    };
    let mut told = bob.sync(&since, 20_000).await;
    while messages(&told, &room).is_empty() || left(&told).is_none() {
        told = bob.sync(&since, 20_000).await;
    }
    assert_eq!(messages(&told, &room), ["gone"]);
    let left = left(&told).expect("the state");
    assert_eq!((&left["content"]["left"], &left["sender"]), (&json!(true), &json!(ada.id)));
    let sent = find(&ada, &message).await;
    assert!(sent["event_id"].is_string() && sent["finalised_ts"].is_u64(), "{sent}");
    let path = format!("/v3/rooms/{}/event/{}", segment(&room), segment(&event_id(&sent)));
    let unsigned = ada.get(&path).await.ok()["unsigned"].take();
    assert_eq!(unsigned["org.matrix.msc4140.delay_id"], message);
    let unsigned = bob.get(&path).await.ok()["unsigned"].take();
    assert_eq!(unsigned["org.matrix.msc4140.delay_id"], Value::Null);
}

#[tokio::test]
async fn delayed_events_are_listed_sent_and_cancelled() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let sent = delay_id(&ada.put(&path(&room, "1"), body("sent", 9000)).await.ok());
    let again = ada.put(&path(&room, "1"), body("sent", 9000)).await.ok();
    assert_eq!(delay_id(&again), sent);
    let cancelled = delay_id(&ada.put(&path(&room, "2"), body("cancelled", 5000)).await.ok());
    let list = ada.get(&format!("{BASE}/delayed_events")).await.ok();
    let list = list["delayed_events"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    let first = &list[0];
    assert_eq!((&first["delay_id"], &first["delay_ms"]), (&json!(cancelled), &json!(5000)));
    assert_eq!((&first["room_id"], &first["type"]), (&json!(room), &json!("m.room.message")));
    assert_eq!(first["content"]["body"], "cancelled");
    assert_eq!(bob.get(&format!("{BASE}/delayed_events")).await.ok()["delayed_events"], json!([]));
    let action = |id: &str, action: &str| format!("{BASE}/delayed_events/{id}/{action}");
    bob.post(&action(&sent, "send"), json!({})).await.refused("not theirs", 404, "M_NOT_FOUND");
    server
        .send(Method::POST, &format!("/_matrix/client{}", action(&sent, "cancel")), None, "")
        .await
        .refused("nobody", 401, "M_MISSING_TOKEN");
    ada.post(&action(&sent, "send"), json!({})).await.ok();
    ada.post(&action(&cancelled, "cancel"), json!({})).await.ok();
    assert_eq!(messages(&bob.sync("", 0).await, &room), ["sent"]);
    ada.post(&action(&sent, "cancel"), json!({})).await.refused("sent", 409, "M_UNKNOWN");
    ada.post(&action(&cancelled, "send"), json!({})).await.refused("cancelled", 409, "M_UNKNOWN");
    ada.post(&action(&sent, "other"), json!({})).await.refused("action", 404, "M_UNRECOGNIZED");
    assert!(find(&ada, &sent).await["event_id"].is_string());
    let over = find(&ada, &cancelled).await;
    assert!(over["finalised_ts"].is_u64() && over.get("event_id").is_none(), "{over}");
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.room_with(&[]).await;
    let content = json!({ "body": "x" });
    let mut member = json!({ "delay_ms": 1, "content": { "membership": "invite" } });
    member["state_key"] = json!("@bob:x.test");
    let of_member = path(&room, "1").replace("m.room.message", "m.room.member");
    for (path, body, status, errcode) in [
        (path(&room, "1"), json!({ "delay_ms": 0, "content": content }), 400, "M_INVALID_PARAM"),
        (path(&room, "1"), json!({ "delay_ms": -1, "content": content }), 400, "M_BAD_JSON"),
        (path(&room, "1"), json!({ "content": content }), 400, "M_BAD_JSON"),
        (path(&room, "1"), json!({ "delay_ms": 1 }), 400, "M_BAD_JSON"),
        (path(&room, "1"), json!({ "delay_ms": 1, "content": [] }), 400, "M_INVALID_PARAM"),
        (path(&room, "1"), body("long", 24 * 60 * 60 * 1000 + 1), 403, "M_FORBIDDEN"),
        (path("nonsense", "1"), body("x", 1), 400, "M_INVALID_PARAM"),
        (of_member, member, 403, "M_FORBIDDEN"),
    ] {
        let row = format!("{path} {body}");
        ada.put(&path, body).await.refused(&row, status, errcode);
    }
    for number in 0..100 {
        ada.put(&path(&room, &number.to_string()), body("x", 60_000)).await.ok();
    }
    let answer = ada.put(&path(&room, "100"), body("x", 60_000)).await;
    assert_eq!(answer.headers["Retry-After"], "60");
    answer.refused("too many", 429, "M_LIMIT_EXCEEDED");
}
