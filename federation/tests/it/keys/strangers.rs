//! What strangers, who may ask unsigned, can make of us as a notary. The answers themselves are
//! tested where the routes are.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{Document, key};
use crate::{
    net::{Canary, MINUTE, Peer, json as body, status},
    server_api::home::{Answer, Home, NAME},
};

const SERVER: &str = "a.test:1";
const FAR: u64 = (1 << 53) - 1;

async fn get(home: &Home, uri: &str) -> Answer {
    home.ask(Request::get(uri).body(Body::empty()).expect("a request")).await
}

async fn post(home: &Home, names: Value) -> Answer {
    let body = json!({ "server_keys": names }).to_string();
    let request = Request::post("/_matrix/key/v2/query").body(Body::from(body));
    home.ask(request.expect("a request")).await
}

async fn query(home: &Home, server: &str, until: u64) -> Vec<Value> {
    let uri = format!("/_matrix/key/v2/query/{server}?minimum_valid_until_ts={until}");
    documents(get(home, &uri).await.ok())
}

fn documents(mut answer: Value) -> Vec<Value> {
    match answer["server_keys"].take() {
        Value::Array(documents) => documents,
        other => panic!("{other} is no list"),
    }
}

async fn serving(home: &Home, document: &Document) -> Peer {
    let document = document.json();
    home.net.peer("a.test", 1, move |_| body(&document)).await
}

#[tokio::test]
async fn strangers_cannot_make_us_ask_all_the_time() {
    let home = Home::start().await;
    let peer = serving(&home, &Document::of(SERVER, &key(1, "one"))).await;
    for round in 1..=3 {
        for until in [FAR; 20] {
            assert_eq!(query(&home, SERVER, until).await.len(), 1, "what is known is told");
            let named = json!({ SERVER: { "ed25519:x": { "minimum_valid_until_ts": until } } });
            post(&home, named).await.ok();
        }
        // A few times at once, and then once in five minutes.
        assert_eq!(peer.count(), 3 + round);
        home.clock().advance(5 * MINUTE);
    }
    let silent = Home::start().await;
    let peer = silent.net.peer("a.test", 1, |_| status(StatusCode::BAD_GATEWAY)).await;
    for _ in 0..40 {
        assert_eq!(query(&silent, SERVER, 0).await, [Value::Null; 0]);
        silent.clock().advance(MINUTE / 10);
    }
    assert_eq!(peer.count(), 1);
}

#[tokio::test]
async fn strangers_cannot_make_us_ask_inside() {
    let home = Home::start().await;
    let canary = Canary::new();
    let port = canary.address().port();
    home.net.names.lead("inside.test", 1, canary.address());
    for host in [format!("127.0.0.2:{port}"), format!("[::ffff:127.0.0.2]:{port}")] {
        assert!(query(&home, &host, 0).await.is_empty());
        assert!(documents(post(&home, json!({ host: {} })).await.ok()).is_empty());
    }
    assert!(query(&home, "inside.test:1", 0).await.is_empty());
    assert!(canary.is_alone());
}

#[tokio::test]
async fn what_a_server_has_not_signed_is_not_vouched_for() {
    let one = key(1, "one");
    for (what, document) in [
        ("unsigned", Document::of(SERVER, &one).signed_by(SERVER, &[])),
        ("another's", Document::of("b.test", &one)),
        ("ours", Document::of(NAME, &one)),
        ("signed in our name", Document::of(SERVER, &one).signed_by(NAME, &[&one])),
    ] {
        let home = Home::start().await;
        let peer = serving(&home, &document).await;
        assert!(query(&home, SERVER, 0).await.is_empty(), "{what}");
        assert_eq!(peer.count(), 1, "{what}");
    }
}
