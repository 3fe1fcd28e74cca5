//! Which documents are believed, and how much of them.

use std::collections::BTreeMap;

use axum::response::IntoResponse as _;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{DAY, Document, ask, key, ring};
use crate::net::{HOUR, Net, START, json as body};

const SERVER: &str = "a.test:1";
const LEAKED: &str = "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og";
/// The largest number of canonical JSON.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Until when each key of `SERVER` counts if this is what it says.
async fn believed(what: &str, text: String) -> BTreeMap<String, u64> {
    let net = Net::new();
    let peer = net.peer("a.test", 1, move |_| body(&text)).await;
    let ids = ["ed25519:one", "ed25519:two", "ed25519:old", "ed25519:leaked"];
    let found = ask(&ring(&net), SERVER, &ids).await;
    assert_eq!(peer.seen()[0].uri, "/_matrix/key/v2/server", "{what}");
    assert_eq!(peer.seen()[0].authorization, None, "{what}: who asks for keys has none yet");
    found.into_iter().map(|(id, key)| (id, key.valid_until)).collect()
}

fn honest() -> Document {
    Document::of(SERVER, &key(1, "one"))
}

#[tokio::test]
async fn keys_count_as_long_as_their_server_says_within_bounds() {
    let (one, two, old) = (key(1, "one"), key(2, "two"), key(3, "old"));
    let two_public = two.public_key().to_base64();
    let short = "AAAA";
    let both = honest().and_key("ed25519:two", &two_public);
    let with_old = |expired| honest().and_old(&old, expired);
    for (what, document, expected) in [
        ("honest", honest(), &[("one", START + DAY)][..]),
        ("with old keys missing", honest().without("old_verify_keys"), &[("one", START + DAY)]),
        ("for long", honest().with("/valid_until_ts", NUMBER_MAX), &[("one", START + 7 * DAY)]),
        ("expired", honest().with("/valid_until_ts", START - 1), &[("one", START - 1)]),
        ("at the epoch", honest().with("/valid_until_ts", 0), &[("one", 0)]),
        (
            "with padding",
            honest().with("/verify_keys/ed25519:one/key", one.public_key().to_base64() + "="),
            &[("one", START + DAY)],
        ),
        ("two keys", both.clone(), &[("one", START + DAY), ("two", START + DAY)]),
        (
            "two keys that sign",
            both.signed_by(SERVER, &[&one, &two]),
            &[("one", START + DAY), ("two", START + DAY)],
        ),
        (
            "a key that is none beside one",
            honest().and_key("ed25519:two", short),
            &[("one", START + DAY)],
        ),
        (
            "the leaked key beside one",
            honest().and_key("ed25519:leaked", LEAKED),
            &[("one", START + DAY)],
        ),
        (
            "the leaked key with padding",
            honest().and_key("ed25519:leaked", &format!("{LEAKED}=")),
            &[("one", START + DAY)],
        ),
        ("an old key", with_old(START - HOUR), &[("old", START - HOUR), ("one", START + DAY)]),
        (
            "an old key that is not over",
            with_old(NUMBER_MAX),
            &[("old", START + 7 * DAY), ("one", START + DAY)],
        ),
    ] {
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(id, until)| (format!("ed25519:{id}"), *until)).collect();
        assert_eq!(believed(what, document.json().to_string()).await, expected, "{what}");
    }
}

#[tokio::test]
async fn what_a_server_has_not_signed_itself_says_nothing() {
    let (one, two, old) = (key(1, "one"), key(2, "two"), key(3, "old"));
    let altered = |pointer: &str, value: Value| {
        let mut json = honest().json();
        *json.pointer_mut(pointer).expect("such a field") = value;
        json
    };
    let one_public = one.public_key().to_base64();
    let other = honest().with("/server_name", "b.test");
    let only_leaked = honest().with("/verify_keys", json!({ "ed25519:leaked": { "key": LEAKED } }));
    let another_one = key(9, "one");
    for (what, json) in [
        ("unsigned", honest().signed_by(SERVER, &[]).json()),
        ("signed in another's name", honest().signed_by("b.test", &[&one]).json()),
        ("signed without the port", honest().signed_by("a.test", &[&one]).json()),
        ("signed with a key that is not in it", honest().signed_by(SERVER, &[&two]).json()),
        ("signed with another key of the name", honest().signed_by(SERVER, &[&another_one]).json()),
        ("signed with an old key", honest().and_old(&old, START).signed_by(SERVER, &[&old]).json()),
        ("another's, signed as ours", other.clone().json()),
        ("another's", other.signed_by("b.test", &[&one]).json()),
        ("the leaked key alone", only_leaked.json()),
        ("time altered", altered("/valid_until_ts", json!(START + 2 * DAY))),
        (
            "key altered",
            altered("/verify_keys/ed25519:one/key", json!(two.public_key().to_base64())),
        ),
        ("name altered", altered("/server_name", json!("A.test:1"))),
        (
            "key added",
            altered(
                "/verify_keys",
                json!({
                    "ed25519:one": { "key": one_public },
                    "ed25519:two": { "key": two.public_key().to_base64() },
                }),
            ),
        ),
        ("signatures of nobody", altered("/signatures", json!({}))),
        ("signatures that are none", altered("/signatures", json!([1, 2]))),
        ("signature of nothing", altered("/signatures", json!({ SERVER: { "ed25519:one": "" } }))),
        ("signature that is none", altered("/signatures", json!({ SERVER: { "ed25519:one": 5 } }))),
    ] {
        assert_eq!(believed(what, json.to_string()).await, BTreeMap::new(), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_says_nothing() {
    let honest = honest();
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let text = honest.json().to_string();
    let twice = text.replacen('{', r#"{"valid_until_ts":1,"#, 1);
    for (what, text) in [
        ("nothing", String::new()),
        ("null", "null".to_owned()),
        ("a list", format!("[{text}]")),
        ("a page", "<!doctype html>".to_owned()),
        ("half of it", text[..text.len() / 2].to_owned()),
        ("more behind it", format!("{text}{text}")),
        ("a field twice", twice),
        ("deep", deep),
        ("no time", honest.clone().without("valid_until_ts").json().to_string()),
        ("a time before time", honest.clone().with("/valid_until_ts", -1).json().to_string()),
        ("a time in words", honest.clone().with("/valid_until_ts", "soon").json().to_string()),
        ("a fraction", text.replace("\"valid_until_ts\":", "\"x\":1.5,\"valid_until_ts\":")),
        ("no name", honest.clone().without("server_name").json().to_string()),
        ("no keys", honest.clone().without("verify_keys").json().to_string()),
        ("keys in a list", honest.clone().with("/verify_keys", json!([])).json().to_string()),
        (
            "a key that is a number",
            honest.with("/verify_keys", json!({ "a": 1 })).json().to_string(),
        ),
        ("too large", format!("{}{text}", " ".repeat(1 << 20))),
    ] {
        assert_eq!(believed(what, text).await, BTreeMap::new(), "{what}");
    }
}

#[tokio::test]
async fn thousands_of_keys_are_not_all_looked_at() {
    let mut document = honest();
    for index in 0..2000 {
        let public = key(2, "x").public_key().to_base64();
        document = document.and_key(&format!("ed25519:x{index:04}"), &public);
    }
    let net = Net::new();
    let text = document.json().to_string();
    let _peer = net.peer("a.test", 1, move |_| body(&text)).await;
    let ids: Vec<String> = (0..2000).map(|index| format!("ed25519:x{index:04}")).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.push("ed25519:one");
    let found = ask(&ring(&net), SERVER, &ids).await;
    assert!(found.contains_key("ed25519:one") && found.len() <= 64, "{}", found.len());
}

#[tokio::test]
async fn an_error_is_no_document_whatever_its_body() {
    for code in [301, 307, 400, 403, 404, 429, 500, 503] {
        let net = Net::new();
        let text = honest().json().to_string();
        let code = StatusCode::from_u16(code).expect("a status");
        let answer = move |_: &_| {
            Some((code, [(header::LOCATION, "/elsewhere")], text.clone()).into_response())
        };
        let peer = net.peer("a.test", 1, answer).await;
        assert!(ask(&ring(&net), SERVER, &["ed25519:one"]).await.is_empty(), "{code}");
        assert_eq!(peer.count(), 1, "{code}");
    }
}
