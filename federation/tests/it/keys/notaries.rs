//! Keys of servers that are away, from those who know them.

use federation::KeyRing;
use http::StatusCode;
use serde_json::{Value, json};

use super::{DAY, Document, ask, key, memory, ring_on};
use crate::net::{Net, Peer, START, json as body, name, status};

const SERVER: &str = "a.test:1";
const ONE: &str = "ed25519:one";

fn honest() -> Value {
    let mut object = serde_json::from_value(Document::of(SERVER, &key(1, "one")).json())
        .expect("canonical JSON");
    events::sign_json(&mut object, &key(8, "notary"), &name("notary.test:1")).expect("an object");
    serde_json::to_value(object).expect("JSON")
}

fn answer(documents: &[Value]) -> Value {
    json!({ "server_keys": documents })
}

async fn notary(net: &Net, host: &str, answer: Value) -> Peer {
    net.peer(host, 1, move |_| body(&answer)).await
}

fn ring(net: &Net, notaries: &[&str]) -> KeyRing {
    let notaries = notaries.iter().map(|notary| name(notary)).collect();
    ring_on(net, &federation::Config { notaries, ..net.config() }, memory())
}

#[tokio::test]
async fn a_notary_is_asked_for_keys_of_a_server_that_is_away() {
    let net = Net::new();
    let away = net.peer("a.test", 1, |_| status(StatusCode::BAD_GATEWAY)).await;
    let notary = notary(&net, "notary.test", answer(&[honest()])).await;
    let ring = ring(&net, &["notary.test:1"]);
    assert_eq!(ask(&ring, SERVER, &[ONE]).await[ONE].valid_until, START + DAY);
    assert_eq!(away.count(), 1, "it was asked first");
    let [seen] = &*notary.seen() else { panic!("one request") };
    assert_eq!((&*seen.method, &*seen.uri), ("POST", "/_matrix/key/v2/query"));
    let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert!(asked["server_keys"][SERVER].is_object(), "{asked}");
}

#[tokio::test]
async fn no_notary_is_asked_for_what_a_server_says_itself() {
    let net = Net::new();
    let _server = net.peer("a.test", 1, |_| body(honest())).await;
    let notary = notary(&net, "notary.test", answer(&[])).await;
    assert_eq!(ask(&ring(&net, &["notary.test:1"]), SERVER, &[ONE]).await.len(), 1);
    assert_eq!(notary.count(), 0);
}

#[tokio::test]
async fn a_notary_adds_nothing_to_what_a_server_has_signed() {
    let (one, evil) = (key(1, "one"), key(66, "one"));
    let mut unsigned = honest();
    let signatures = unsigned["signatures"].as_object_mut().expect("signatures");
    signatures.remove(SERVER);
    let mut altered = honest();
    altered["verify_keys"][ONE]["key"] = json!(evil.public_key().to_base64());
    let mut added = honest();
    added["verify_keys"]["ed25519:two"] = json!({ "key": evil.public_key().to_base64() });
    let other = Document::of("b.test", &one).json();
    for (what, answer) in [
        ("without the server's signature", answer(&[unsigned])),
        ("another key", answer(&[altered])),
        ("one key more", answer(&[added])),
        ("another server", answer(&[other])),
        ("nothing", answer(&[])),
        ("no documents", answer(&[json!(null), json!(1), json!("x"), json!([]), json!({})])),
        ("no list", json!({ "server_keys": { SERVER: honest() } })),
        ("the document itself", honest()),
        ("no object", json!([honest()])),
        ("far too much", json!({ "server_keys": [honest()], "x": "x".repeat(1 << 20) })),
    ] {
        let net = Net::new();
        let _notary = notary(&net, "notary.test", answer).await;
        let found = ask(&ring(&net, &["notary.test:1"]), SERVER, &[ONE, "ed25519:two"]).await;
        assert!(found.is_empty(), "{what}: {found:?}");
    }
}

#[tokio::test]
async fn one_good_document_is_found_among_bad_ones() {
    let net = Net::new();
    let mut documents = vec![json!({}), Document::of("b.test", &key(1, "one")).json(), json!(null)];
    documents.push(honest());
    let _notary = notary(&net, "notary.test", answer(&documents)).await;
    assert_eq!(ask(&ring(&net, &["notary.test:1"]), SERVER, &[ONE]).await.len(), 1);
}

#[tokio::test]
async fn the_next_notary_is_asked_if_one_is_of_no_use() {
    let net = Net::new();
    let _broken = net.peer("broken.test", 1, |_| status(StatusCode::NOT_FOUND)).await;
    let _lying = notary(&net, "lying.test", answer(&[json!({})])).await;
    let good = notary(&net, "notary.test", answer(&[honest()])).await;
    let later = notary(&net, "later.test", answer(&[honest()])).await;
    let notaries =
        ["gone.test:1", "broken.test:1", "lying.test:1", "notary.test:1", "later.test:1"];
    assert_eq!(ask(&ring(&net, &notaries), SERVER, &[ONE]).await.len(), 1);
    assert_eq!((good.count(), later.count()), (1, 0));
}

#[tokio::test]
async fn a_notary_does_not_prolong_what_a_server_has_said() {
    let net = Net::new();
    let past = Document::of(SERVER, &key(1, "one")).with("/valid_until_ts", START - DAY).json();
    let _notary = notary(&net, "notary.test", answer(&[past])).await;
    let found = ask(&ring(&net, &["notary.test:1"]), SERVER, &[ONE]).await;
    assert_eq!(found[ONE].valid_until, START - DAY);
}
