//! A transaction that was not answered outlives the region that sent it.

use std::path::Path;

use axum::body::Body;
use http::Request;
use meridian::{Config, Parts, Region};
use serde_json::json;
use stdx::{ManualClock, Rng};
use storage::{EngineKind, Store};
use tower::ServiceExt as _;

use super::{
    AS_TOKEN,
    bridge::{Bridge, events},
    registration,
};
use crate::server::START_MS;

async fn region(directory: &Path, start: u64) -> Region {
    let stored = storage::Config::at(EngineKind::Fjall, directory.join("store"));
    let yaml = directory.join("bridge.yaml");
    let sections = format!("server_name = \"x.test\"\n[appservices]\nregistrations = [{yaml:?}]\n");
    let config = Config::parse(&sections).expect("the configuration is valid");
    let store = Store::open(&stored, start).expect("the store opens");
    // Time goes on: two rooms that are made alike in one moment are one.
    let (clock, rng) = (ManualClock::new(START_MS + start * 1000), Rng::from_seed(start));
    let parts = Parts { store, clock, rng };
    Region::build(&config, parts, None).await.expect("the region starts")
}

async fn create_room(region: &Region) {
    let request = Request::post("/_matrix/client/v3/createRoom")
        .header("Authorization", format!("Bearer {AS_TOKEN}"))
        .body(Body::from("{}"))
        .expect("a request");
    let answer = region.router().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_transaction_is_the_same_after_a_restart() {
    let bridge = Bridge::start().await;
    bridge.answer(|_| (500, json!({})));
    let directory = tempfile::tempdir().expect("a directory");
    let yaml = registration("bridge", AS_TOKEN, &bridge.url(), "_bridge_");
    std::fs::write(directory.path().join("bridge.yaml"), yaml).expect("it is written");
    let before = region(directory.path(), 1).await;
    create_room(&before).await;
    bridge.find(|seen| (!seen.is_empty()).then_some(())).await;
    create_room(&before).await;
    before.close().await;
    let tried = bridge.seen().len();

    bridge.answer(|_| (200, json!({})));
    let after = region(directory.path(), 2).await;
    create_room(&after).await;
    let created = |seen: &[super::bridge::Sent]| {
        let mut told = events(&seen[tried..], "events");
        told.retain(|event| event["type"] == "m.room.create");
        (told.len() >= 3).then_some(told)
    };
    let told = bridge.find(created).await;
    after.close().await;
    let seen = bridge.seen();
    assert_eq!((&seen[tried].path, &seen[tried].body), (&seen[0].path, &seen[0].body));
    let mut rooms: Vec<_> = told.iter().map(|event| event["room_id"].to_string()).collect();
    rooms.dedup();
    assert_eq!(rooms.len(), 3, "each is told of once: {rooms:?}");
}
