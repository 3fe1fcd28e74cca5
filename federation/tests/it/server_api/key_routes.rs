//! `/_matrix/key/v2`: our keys, and those of others as a notary.

use axum::body::Body;
use http::Request;
use ruma::{CanonicalJsonObject, ServerName};
use serde_json::{Value, json};

use super::{
    event::segment,
    home::{Answer, Home, NAME},
    peer::{DAY_MS, KEY, Peer},
};
use crate::net::START;

async fn get(home: &Home, path: &str) -> Answer {
    let uri = format!("/_matrix/key/v2/{path}");
    home.ask(Request::get(uri).body(Body::empty()).expect("a request")).await
}

async fn post(home: &Home, body: &Value) -> Answer {
    let request = Request::post("/_matrix/key/v2/query").body(Body::from(body.to_string()));
    home.ask(request.expect("a request")).await
}

/// Whether `server` has signed the document with one of the keys.
fn is_signed(document: &Value, server: &str, keys: &Value) -> bool {
    let object: CanonicalJsonObject = serde_json::from_value(document.clone()).expect("canonical");
    let server = ServerName::parse(server).expect("a server name");
    let key = |id: &str| events::PublicKey::from_base64(keys[id]["key"].as_str()?).ok();
    events::verify_json(&object, &server, key).is_ok()
}

#[tokio::test]
async fn our_document_says_what_we_sign_with() {
    let home = Home::start().await;
    let document = get(&home, "server").await.ok();
    assert_eq!(document["server_name"], NAME);
    assert_eq!(document["valid_until_ts"], START + DAY_MS);
    assert!(is_signed(&document, NAME, &document["verify_keys"]), "{document}");
    // "MUST treat the keyId as optional", whatever it is.
    assert_eq!(get(&home, "server/ed25519:other").await.ok(), document);
    home.clock().advance(DAY_MS);
    assert_eq!(get(&home, "server").await.ok()["valid_until_ts"], START + 2 * DAY_MS);
}

#[tokio::test]
async fn documents_of_others_are_passed_on_with_our_signature() {
    let home = Home::start().await;
    let (peer, other) = (Peer::start(&home, "a.test").await, Peer::start(&home, "b.test").await);
    let ours = get(&home, "server").await.ok()["verify_keys"].clone();
    let document = get(&home, "query/a.test").await.ok()["server_keys"][0].clone();
    assert_eq!(document["server_name"], "a.test");
    assert!(is_signed(&document, "a.test", &document["verify_keys"]));
    assert!(is_signed(&document, NAME, &ours));
    // Before v1.2 a key was named, and some still do.
    for key in [KEY, "ed25519:other"] {
        let path = format!("query/a.test/{}", segment(key));
        assert_eq!(get(&home, &path).await.ok()["server_keys"][0], document, "{key}");
    }
    let body = json!({ "server_keys": { "a.test": {}, "b.test": { KEY: {} }, NAME: {}, "none.test": {} } });
    let found = post(&home, &body).await.ok();
    let mut names: Vec<&str> = found["server_keys"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|document| document["server_name"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["a.test", "b.test", NAME]);
    assert_eq!((peer.key_requests(), other.key_requests()), (1, 1));
    // "expired cached response if the origin is unreachable"
    peer.set_down(true);
    home.clock().advance(2 * DAY_MS);
    let again = get(&home, "query/a.test").await.ok();
    assert_eq!(again["server_keys"][0]["valid_until_ts"], document["valid_until_ts"]);
}

/// "expired cached response if the origin is unreachable", and no other than that asked for.
#[tokio::test]
async fn a_notary_asks_again_for_what_is_to_count_longer() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "a.test").await;
    let asked = async |path: &str| {
        let found = get(&home, &format!("query/a.test{path}")).await.ok();
        assert_eq!(found["server_keys"][0]["server_name"], "a.test", "{path}");
        peer.key_requests()
    };
    assert_eq!(asked("").await, 1);
    home.clock().advance(2 * DAY_MS);
    let then = START + DAY_MS;
    assert_eq!(asked(&format!("?minimum_valid_until_ts={then}")).await, 1, "that long it counts");
    assert_eq!(asked("").await, 2, "now it does not");
    let later = START + 3000 * DAY_MS;
    assert_eq!(asked(&format!("?minimum_valid_until_ts={later}")).await, 3);
}

/// Hazard A8: nobody need be known to ask here, so what it costs others has a bound.
#[tokio::test]
async fn a_notary_is_no_way_to_make_requests() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "a.test").await;
    for _ in 0..20 {
        get(&home, "query/a.test?minimum_valid_until_ts=9007199254740991").await.ok();
        let body = json!({ "server_keys": { "a.test": {
            "ed25519:none": { "minimum_valid_until_ts": 9_007_199_254_740_991_u64 } } } });
        post(&home, &body).await.ok();
        home.clock().advance(1000);
    }
    assert!(peer.key_requests() <= 4, "{} requests", peer.key_requests());
    let many: serde_json::Map<String, Value> =
        (0..65).map(|number| (format!("s{number}.test"), json!({}))).collect();
    let answer = post(&home, &json!({ "server_keys": many })).await;
    answer.refused("65 servers", 400, "M_INVALID_PARAM");
    let mut inside = serde_json::Map::new();
    for name in ["127.0.0.2:1", "10.0.0.1", "[::ffff:10.0.0.1]", "localhost", "169.254.169.254"] {
        inside.insert(name.to_owned(), json!({}));
    }
    assert_eq!(post(&home, &json!({ "server_keys": inside })).await.ok()["server_keys"], json!([]));
}

#[tokio::test]
async fn questions_that_cannot_be_read_are_refused() {
    let home = Home::start().await;
    for path in ["query/a%20b", "query/a.test?minimum_valid_until_ts=x"] {
        get(&home, path).await.refused(path, 400, "M_INVALID_PARAM");
    }
    for body in [
        json!([]),
        json!({}),
        json!({ "server_keys": [] }),
        json!({ "server_keys": { "a b": {} } }),
        json!({ "server_keys": { "a.test": { "ed25519:1": 5 } } }),
        json!({ "server_keys": { "a.test": { "ed25519:1": { "minimum_valid_until_ts": 1.5 } } } }),
    ] {
        post(&home, &body).await.refused(&body.to_string(), 400, "M_BAD_JSON");
    }
}
