//! Whose names are whose.

use serde_json::json;

use super::{AS_TOKEN, bridge, ghost, holder, region_with, registration};
use crate::user::segment;

#[tokio::test]
async fn a_bridge_makes_users_of_its_namespace_and_no_others() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let bridge = holder(&server, AS_TOKEN);
    let made = ghost(&bridge, "_bridge_ada").await.ok();
    assert_eq!(made["user_id"], "@_bridge_ada:x.test");
    let ada = crate::user::User::new(&server, &made);
    assert_eq!(ada.get("/v3/account/whoami").await.ok()["device_id"], made["device_id"]);

    let quietly = json!({
        "type": "m.login.application_service", "username": "_bridge_bea", "inhibit_login": true,
    });
    let made = bridge.post("/v3/register", quietly.clone()).await.ok();
    assert_eq!(made["user_id"], "@_bridge_bea:x.test");
    assert!(made.get("access_token").is_none() && made.get("device_id").is_none(), "{made}");

    bridge.post("/v3/register", quietly).await.refused("twice", 400, "M_USER_IN_USE");
    ghost(&bridge, "ada").await.refused("outside", 400, "M_EXCLUSIVE");
    let stranger = holder(&server, "no-token");
    ghost(&stranger, "_bridge_eve").await.refused("no bridge", 401, "M_UNKNOWN_TOKEN");
    let body = json!({ "type": "m.login.application_service", "username": "_bridge_eve" });
    server.post("/v3/register", body).await.refused("nobody", 401, "M_MISSING_TOKEN");
    // A person's token is no bridge's.
    ghost(&server.user("eve").await, "_bridge_eve").await.refused("eve", 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn exclusive_names_are_nobody_elses() {
    let plain = registration("other", "other-token", "null", "log");
    let claims = registration("claims", "claims-token", "null", "bridge-");
    let (server, _dir) = region_with(&[&claims, &plain], "").await;
    let (other, ada) = (holder(&server, "other-token"), server.user("ada").await);
    let taken = json!({ "username": "bridge-1", "auth": { "type": "m.login.dummy" } });
    server.post("/v3/register", taken).await.refused("a person", 400, "M_EXCLUSIVE");
    let path = "/v3/register/available?username=bridge-1";
    server.get(path).await.refused("a question", 400, "M_EXCLUSIVE");
    ghost(&other, "bridge-1").await.refused("another bridge", 400, "M_EXCLUSIVE");
    ghost(&holder(&server, "claims-token"), "bridge-1").await.ok();

    let room = ada.create_room(json!({})).await;
    let alias = |name: &str| format!("/v3/directory/room/{}", segment(&format!("#{name}:x.test")));
    let to_room = json!({ "room_id": room });
    ada.put(&alias("bridge-1"), to_room.clone()).await.refused("a person", 400, "M_EXCLUSIVE");
    let named = json!({ "room_alias_name": "bridge-1" });
    ada.post("/v3/createRoom", named).await.refused("a new room", 400, "M_EXCLUSIVE");
    let path = alias("bridge-1");
    other.put(&path, to_room.clone()).await.refused("another bridge", 400, "M_EXCLUSIVE");
    other.put(&alias("free"), to_room.clone()).await.refused("outside", 400, "M_EXCLUSIVE");

    // Whose name it is need not be in the room, to give it or to take it away.
    let claims = holder(&server, "claims-token");
    claims.put(&path, to_room.clone()).await.ok();
    assert_eq!(server.get(&path).await.ok()["room_id"], json!(room));
    ada.call(http::Method::DELETE, &path, String::new()).await.refused("ada", 400, "M_EXCLUSIVE");
    claims.call(http::Method::DELETE, &path, String::new()).await.ok();
    server.get(&path).await.refused("it is gone", 404, "M_NOT_FOUND");
}

#[test]
fn what_cannot_be_used_is_named_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("bad.yaml"), bridge().replace("'@", "'@(")).expect("it is written");
    for (name, mention) in [("bad.yaml", "users"), ("none.yaml", "none.yaml")] {
        let text = format!("[appservices]\nregistrations = [{:?}]", path(name));
        let error = meridian::Config::parse(&text).expect_err(name);
        let error = format!("{error:#}");
        assert!(error.contains(mention) && error.contains(name), "{error}");
    }
}
