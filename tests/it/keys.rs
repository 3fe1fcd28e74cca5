//! End-to-end keys over HTTP: errors as clients know them, and when the password is asked for.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

fn master_key(user: &User<'_>, seed: u8) -> Value {
    let key = events::SigningKey::from_seed(&[seed; 32], "x").expect("a key");
    let public = key.public_key().to_base64();
    json!({
        "user_id": user.id, "usage": ["master"], "keys": { format!("ed25519:{public}"): public },
    })
}

#[tokio::test]
async fn one_time_keys_are_uploaded_claimed_and_counted() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let keys = json!({ "one_time_keys": { "signed_curve25519:A": { "key": "k" } } });
    let counts = ada.post("/v3/keys/upload", keys).await.ok();
    assert_eq!(counts["one_time_key_counts"], json!({ "signed_curve25519": 1 }));
    let other = json!({ "one_time_keys": { "signed_curve25519:A": { "key": "other" } } });
    ada.post("/v3/keys/upload", other).await.refused("other", 400, "M_INVALID_PARAM");
    let foreign = json!({ "device_keys": {
        "user_id": bob.id, "device_id": ada.device, "algorithms": [], "keys": {}, "signatures": {},
    }});
    ada.post("/v3/keys/upload", foreign).await.refused("foreign", 400, "M_BAD_JSON");
    ada.post("/v3/keys/upload", json!({ "device_keys": 5 })).await.refused("5", 400, "M_BAD_JSON");

    let claim = json!({ "one_time_keys": { &ada.id: { &ada.device: "signed_curve25519" } } });
    let claimed = bob.post("/v3/keys/claim", claim.clone()).await.ok();
    let keys = &claimed["one_time_keys"][&ada.id][&ada.device];
    assert_eq!(*keys, json!({ "signed_curve25519:A": { "key": "k" } }));
    let again = bob.post("/v3/keys/claim", claim).await.ok();
    assert_eq!(again["one_time_keys"], json!({}));
    let query = json!({ "device_keys": { &ada.id: [] } });
    let found = bob.post("/v3/keys/query", query).await.ok();
    assert_eq!(found["device_keys"][&ada.id], json!({}));
}

#[tokio::test]
async fn a_master_key_is_replaced_with_the_password_only() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.room_with(&[&bob]).await;
    let since = bob.token_now().await;
    let path = "/v3/keys/device_signing/upload";
    let first = json!({ "master_key": master_key(&ada, 1) });
    ada.post(path, first.clone()).await.ok();
    ada.post(path, first).await.ok();
    let changes = bob.get(&format!("/v3/keys/changes?from={since}&to={since}")).await.ok();
    assert_eq!(changes["changed"], json!([ada.id]));
    let asked = ada.post(path, json!({ "master_key": master_key(&ada, 2) })).await;
    assert_eq!(asked.status, 401, "{}", asked.body);
    let query = json!({ "device_keys": { &ada.id: [] } });
    let found = bob.post("/v3/keys/query", query).await.ok();
    let master = &found["master_keys"][&ada.id]["keys"];
    assert_eq!(*master, master_key(&ada, 1)["keys"], "it stays");
}

#[tokio::test]
async fn backups_answer_as_clients_know_them() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    ada.get("/v3/room_keys/version").await.refused("none", 404, "M_NOT_FOUND");
    let backup = json!({ "algorithm": "m.test", "auth_data": { "public_key": "x" } });
    let first = ada.post("/v3/room_keys/version", backup.clone()).await.ok();
    assert_eq!(first["version"], "1");
    ada.post("/v3/room_keys/version", backup).await.ok();
    let room = segment("!r:example.org");
    let session = json!({
        "first_message_index": 0, "forwarded_count": 0, "is_verified": true, "session_data": {},
    });
    let path = |version: &str| format!("/v3/room_keys/keys/{room}/s?version={version}");
    let wrong = ada.put(&path("1"), session.clone()).await;
    let wrong = wrong.refused("old", 403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(wrong["current_version"], "2");
    let stored = ada.put(&path("2"), session.clone()).await.ok();
    assert_eq!(stored["count"], 1);
    assert_eq!(ada.get(&path("2")).await.ok(), session);
    let all = ada.get("/v3/room_keys/keys?version=2").await.ok();
    assert_eq!(all["rooms"]["!r:example.org"]["sessions"]["s"], session);
    ada.get("/v3/room_keys/keys?version=x").await.refused("odd", 404, "M_NOT_FOUND");
    ada.get("/v3/room_keys/keys").await.refused("unnamed", 400, "M_MISSING_PARAM");
}
