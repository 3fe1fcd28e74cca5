//! Policy servers and their signatures.

use events::{Pdu, PolicyServer, SigningKey, policy_signature, verify_signatures};
use ruma::server_name;
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    room::version,
    signing::{build, key},
};

fn policy_key() -> SigningKey {
    SigningKey::from_seed(&[5; 32], "policy_server").unwrap()
}

fn server() -> PolicyServer {
    let key = policy_key().public_key().to_base64();
    let content = json!({ "via": "p.test", "public_keys": { "ed25519": key, "other": 7 } });
    PolicyServer::parse(&content.to_string()).unwrap()
}

fn answer(server: &str, key_id: &str, signature: &str) -> Box<serde_json::value::RawValue> {
    to_raw_value(&json!({ server: { key_id: signature } })).unwrap()
}

#[test]
fn the_answer_of_the_policy_server_recommends_an_event() {
    for number in [1, 6, 12] {
        let version = version(number);
        let pdu = build(version, json!({ "body": "hello" })).unwrap();
        assert!(!server().recommends(&pdu, version));
        let signature = policy_signature(&pdu, &policy_key(), version);
        let answer = answer("p.test", "ed25519:policy_server", &signature);
        let signed = server().add_answer(&pdu, &answer, version).unwrap();
        assert!(server().recommends(&signed, version));
        assert_eq!(signed.event_id(), pdu.event_id());
        let keys = |server: &ruma::ServerName, id: &str| {
            (server == server_name!("a.test") && id == "ed25519:1").then(|| key().public_key())
        };
        verify_signatures(&signed, version, keys).unwrap();
        // It covers what redaction leaves.
        assert!(server().recommends(&signed.redacted(version), version));
    }
}

#[test]
fn other_answers_recommend_nothing() {
    let version = version(12);
    let pdu = build(version, json!({ "body": "hello" })).unwrap();
    let right = policy_signature(&pdu, &policy_key(), version);
    let other = build(version, json!({ "body": "howdy" })).unwrap();
    let of_other = policy_signature(&other, &policy_key(), version);
    let by_other = policy_signature(&pdu, &key(), version);
    for answer in [
        answer("q.test", "ed25519:policy_server", &right),
        answer("p.test", "ed25519:1", &right),
        answer("p.test", "ed25519:policy_server", &of_other),
        answer("p.test", "ed25519:policy_server", &by_other),
        answer("p.test", "ed25519:policy_server", ""),
        to_raw_value(&json!({})).unwrap(),
        to_raw_value(&json!([right])).unwrap(),
        to_raw_value(&json!({ "p.test": right })).unwrap(),
    ] {
        assert!(server().add_answer(&pdu, &answer, version).is_none(), "{answer}");
    }
}

#[test]
fn only_the_event_that_sets_the_policy_server_needs_no_signature() {
    let policy = |event_type: &str, state_key: Option<&str>| {
        let mut json = json!({
            "type": event_type, "sender": "@alice:a.test", "room_id": "!room:a.test",
            "content": {}, "depth": 1, "origin_server_ts": 1, "prev_events": [], "auth_events": [],
            "hashes": {}, "signatures": {},
        });
        if let Some(state_key) = state_key {
            json["state_key"] = Value::from(state_key);
        }
        Pdu::from_json(serde_json::to_vec(&json).unwrap().into(), version(11)).unwrap()
    };
    let recommends = |pdu: Pdu| server().recommends(&pdu, version(11));
    assert!(recommends(policy("m.room.policy", Some(""))));
    assert!(!recommends(policy("m.room.policy", Some("x"))));
    assert!(!recommends(policy("m.room.policy", None)));
    assert!(!recommends(policy("m.room.power_levels", Some(""))));
}

#[test]
fn a_malformed_policy_is_none() {
    let key = policy_key().public_key().to_base64();
    for content in [
        json!({}),
        json!({ "via": "p.test" }),
        json!({ "via": "p.test", "public_keys": {} }),
        json!({ "via": "p.test", "public_keys": { "ed25519": 1 } }),
        json!({ "via": "p.test", "public_keys": { "ed25519": "AAAA" } }),
        json!({ "via": "p.test", "public_keys": { "rsa": key } }),
        json!({ "via": "p test", "public_keys": { "ed25519": key } }),
        json!({ "public_keys": { "ed25519": key } }),
        json!([]),
    ] {
        assert_eq!(PolicyServer::parse(&content.to_string()), None, "{content}");
    }
    assert_eq!(server().via(), "p.test");
}
