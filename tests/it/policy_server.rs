//! A region that is a policy server, and one that is none.

use std::path::Path;

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use meridian::{Config, Parts, Region};
use serde_json::{Value, json};
use stdx::{ManualClock, Rng};
use storage::{EngineKind, Store};
use tower::ServiceExt as _;

use crate::{
    server::{START_MS, Server},
    user::message_path,
};

const SIGN: &str = "/_matrix/policy/v1/sign";
const WELL_KNOWN: &str = "/.well-known/matrix/policy_server";
const RULES: &str = "[policy_server]\nenabled = true\ndenied_text = [\"casino\"]\n";

#[tokio::test]
async fn a_region_is_no_policy_server_unless_it_is_told_to_be() {
    let server = Server::start().await;
    let well_known = server.send(Method::GET, WELL_KNOWN, None, "").await;
    well_known.refused(WELL_KNOWN, 404, "M_NOT_FOUND");
    server.send(Method::POST, SIGN, None, "{}").await.refused(SIGN, 404, "M_UNRECOGNIZED");
    let apart = format!("[federation]\nenabled = false\n{RULES}");
    let server = Server::with(&apart).await;
    server.send(Method::POST, SIGN, None, "{}").await.refused(SIGN, 404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn users_are_told_what_their_own_region_does_not_recommend() {
    let server = Server::unlimited_with(RULES).await;
    let well_known = server.send(Method::GET, WELL_KNOWN, None, "").await;
    assert_eq!(well_known.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let mut policy = well_known.ok();
    server.send(Method::POST, SIGN, None, "{}").await.refused(SIGN, 401, "M_UNAUTHORIZED");
    // It is no key of the server: nothing else is believed that is signed with it.
    let keys = server.send(Method::GET, "/_matrix/key/v2/server", None, "").await.ok();
    let key = policy["public_keys"]["ed25519"].as_str().expect("a key").to_owned();
    assert!(!keys.to_string().contains(&key), "{keys}");

    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    policy["via"] = json!("x.test");
    ada.set_state(&room, "m.room.policy", &policy.to_string()).await.ok();
    bob.say(&room, "t1", "hello").await;
    let content = json!({ "msgtype": "m.text", "body": "casino" });
    let refused = bob.put(&message_path(&room, "t2"), content).await;
    refused.refused("casino", 400, "M_FORBIDDEN");
    let seen = ada.sync("", 0).await.to_string();
    assert!(seen.contains("hello") && !seen.contains("casino"), "{seen}");
}

async fn key_of(directory: &Path, seed: u64) -> Value {
    let config = format!("server_name = \"x.test\"\n{RULES}");
    let config = Config::parse(&config).expect("the configuration is valid");
    let stored = storage::Config::at(EngineKind::Fjall, directory.join("store"));
    let store = Store::open(&stored, seed).expect("the store opens");
    let parts = Parts { store, clock: ManualClock::new(START_MS), rng: Rng::from_seed(seed) };
    let region = Region::build(&config, parts, None).await.expect("the region starts");
    let request = Request::get(WELL_KNOWN).body(Body::empty()).expect("a request");
    let answer = region.router().oneshot(request).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    region.close().await;
    serde_json::from_slice(&body).expect("JSON")
}

/// Else every event of the rooms that trust it would have to be signed again.
#[tokio::test]
async fn the_key_stays_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let (before, after) = (key_of(directory.path(), 1).await, key_of(directory.path(), 2).await);
    assert_eq!(before, after);
    assert!(before["public_keys"]["ed25519"].is_string(), "{before}");
    let elsewhere = tempfile::tempdir().expect("a directory");
    assert_ne!(before, key_of(elsewhere.path(), 3).await);
}
