//! A device that nobody is logged in with, and that somebody becomes.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

const PATH: &str = "/unstable/org.matrix.msc3814.v1/dehydrated_device";

fn body(user: &User<'_>, device: &str) -> Value {
    json!({
        "device_id": device,
        "device_data": { "algorithm": "org.matrix.msc3814.v2", "device_pickle": device },
        "initial_device_display_name": "asleep",
        "device_keys": {
            "user_id": user.id, "device_id": device, "dehydrated": true, "algorithms": [],
            "keys": { format!("curve25519:{device}"): device }, "signatures": {},
        },
        "one_time_keys": { "signed_curve25519:A": { "key": device } },
        "fallback_keys": { "signed_curve25519:F": { "key": device, "fallback": true } },
    })
}

async fn device_ids(user: &User<'_>) -> Vec<String> {
    let mut found = user.get("/v3/devices").await.ok();
    let Value::Array(devices) = found["devices"].take() else { panic!("no devices: {found}") };
    devices.iter().filter_map(|device| device["device_id"].as_str().map(str::to_owned)).collect()
}

async fn send_to(sender: &User<'_>, user: &User<'_>, device: &str, txn: &str) {
    let path = format!("/v3/sendToDevice/test.type/{txn}");
    let content = json!({ "messages": { &user.id: { device: { "n": txn } } } });
    sender.put(&path, content).await.ok();
}

fn numbers(events: &Value) -> Vec<u32> {
    let events = events["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["content"]["n"].as_str()?.parse().ok()).collect()
}

#[tokio::test]
async fn it_is_a_device_with_keys_that_the_next_one_replaces() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.get(PATH).await.refused("none yet", 404, "M_NOT_FOUND");
    ada.put(PATH, body(&ada, "ONE")).await.ok();
    let found = ada.get(PATH).await.ok();
    assert_eq!(found["device_id"], "ONE");
    assert_eq!(found["device_data"], body(&ada, "ONE")["device_data"]);
    bob.get(PATH).await.refused("ada's", 404, "M_NOT_FOUND");
    let query = json!({ "device_keys": { &ada.id: [] } });
    let keys = bob.post("/v3/keys/query", query).await.ok();
    assert_eq!(keys["device_keys"][&ada.id]["ONE"]["dehydrated"], true);
    let claim = json!({ "one_time_keys": { &ada.id: { "ONE": "signed_curve25519" } } });
    for expected in ["A", "F"] {
        let claimed = bob.post("/v3/keys/claim", claim.clone()).await.ok();
        let key = &claimed["one_time_keys"][&ada.id]["ONE"];
        assert!(key.get(format!("signed_curve25519:{expected}")).is_some(), "{expected}: {key}");
    }
    ada.put(PATH, body(&ada, "TWO")).await.ok();
    assert_eq!(device_ids(&ada).await, ["TWO", "ada-1"]);
    assert_eq!(ada.get(PATH).await.ok()["device_id"], "TWO");
    // The same again is a new one too: what was sent to the other is not for it.
    send_to(&bob, &ada, "TWO", "1").await;
    ada.put(PATH, body(&ada, "TWO")).await.ok();
    let events = ada.get(&format!("{PATH}/TWO/events")).await.ok();
    assert_eq!(numbers(&events), Vec::<u32>::new());
}

#[tokio::test]
async fn a_device_in_use_and_half_a_device_are_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    ada.put(PATH, body(&ada, "ONE")).await.ok();
    let in_use = body(&ada, &ada.device);
    ada.put(PATH, in_use).await.refused("a device in use", 400, "M_INVALID_PARAM");
    for key in ["device_id", "device_data", "device_keys"] {
        let mut half = body(&ada, "TWO");
        half.as_object_mut().expect("an object").remove(key);
        ada.put(PATH, half).await.refused(key, 400, "M_BAD_JSON");
    }
    let mut foreign = body(&ada, "TWO");
    foreign["device_keys"]["user_id"] = json!("@bob:x.test");
    ada.put(PATH, foreign).await.refused("somebody's keys", 400, "M_BAD_JSON");
    let mut large = body(&ada, "TWO");
    large["device_data"]["device_pickle"] = json!("x".repeat(65 << 10));
    ada.put(PATH, large).await.refused("much data", 400, "M_BAD_JSON");
    assert_eq!(device_ids(&ada).await, ["ONE", "ada-1"]);
    assert_eq!(ada.get(PATH).await.ok()["device_id"], "ONE");
    ada.get("/v3/account/whoami").await.ok();
}

#[tokio::test]
async fn its_messages_are_read_in_pages_and_again() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.put(PATH, body(&ada, "ONE")).await.ok();
    for number in 0..150_u32 {
        send_to(&bob, &ada, "ONE", &number.to_string()).await;
    }
    let all: Vec<u32> = (0..150).collect();
    let path = format!("{PATH}/ONE/events");
    for _try in 0..2 {
        let first = ada.get(&path).await.ok();
        let next = first["next_batch"].as_str().expect("there are more");
        let second = ada.get(&format!("{path}?from={}", segment(next))).await.ok();
        assert_eq!(second.get("next_batch"), None, "these are all");
        assert_eq!([numbers(&first), numbers(&second)].concat(), all);
    }
    // As matrix-rust-sdk does: until nothing comes.
    let (mut found, mut request) = (Vec::new(), json!({}));
    loop {
        let page = ada.post(&path, request).await.ok();
        if numbers(&page).is_empty() {
            break;
        }
        found.extend(numbers(&page));
        request = json!({ "next_batch": page["next_batch"] });
    }
    assert_eq!(found, all);
    let other = ada.get(&format!("{PATH}/ada-1/events")).await;
    other.refused("another device", 403, "M_FORBIDDEN");
    ada.get(&format!("{path}?from=junk")).await.refused("a token", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn it_is_deleted_by_itself_and_with_all_devices() {
    const PASSWORD: &str = "correct horse battery";
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    ada.put(PATH, body(&ada, "ONE")).await.ok();
    assert_eq!(ada.call(http::Method::DELETE, PATH, String::new()).await.ok()["device_id"], "ONE");
    assert_eq!(device_ids(&ada).await, [&*ada.device]);
    let again = ada.call(http::Method::DELETE, PATH, String::new()).await;
    again.refused("none", 404, "M_NOT_FOUND");
    ada.put(PATH, body(&ada, "TWO")).await.ok();
    ada.post("/v3/logout/all", json!({})).await.ok();
    let ada = server.log_in("ada", PASSWORD, "NEW").await;
    ada.get(PATH).await.refused("deleted with the others", 404, "M_NOT_FOUND");
    assert_eq!(device_ids(&ada).await, ["NEW"]);
}
