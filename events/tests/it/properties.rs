//! What holds for every event and every text.

use bytes::Bytes;
use events::{
    Pdu, RoomVersion, add_signature,
    canonical::{Numbers, canonicalise},
    verify_content_hash,
};
use proptest::prelude::*;
use ruma::{CanonicalJsonValue, server_name};
use serde_json::{Value, json};

use crate::{
    room::version,
    signing::{build, key},
};

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991..=9_007_199_254_740_991_i64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z_]{1,12}", any_json(), 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

const TYPES: [&str; 8] = [
    "m.room.message",
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.aliases",
    "m.room.redaction",
    "m.room.history_visibility",
];

fn pdu(number: u8, event_type: &str, content: &Value, extra: &Value) -> Value {
    let mut json = json!({
        "auth_events": [], "content": content, "depth": 1, "hashes": { "sha256": "x" },
        "origin_server_ts": 1, "prev_events": [], "room_id": "!room:a.test",
        "sender": "@alice:a.test", "signatures": {}, "state_key": "", "type": event_type,
    });
    for (key, value) in extra.as_object().unwrap() {
        json.as_object_mut().unwrap().entry(key).or_insert(value.clone());
    }
    if number < 3 {
        json["event_id"] = json!("$id:a.test");
    }
    json
}

fn read(json: &Value, number: u8) -> Pdu {
    Pdu::from_json(Bytes::from(json.to_string()), version(number)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redaction_is_idempotent_and_keeps_the_id(
        number in 1..=12_u8, kind in 0..TYPES.len(), content in object(), extra in object(),
    ) {
        let event = read(&pdu(number, TYPES[kind], &content, &extra), number);
        let once = event.redacted(version(number));
        let twice = once.redacted(version(number));
        prop_assert_eq!(once.json(), twice.json());
        let read = Pdu::from_json(once.json().clone(), version(number)).unwrap();
        prop_assert_eq!(read.event_id(), event.event_id());
        prop_assert!(once.json().len() <= event.json().len());
    }

    #[test]
    fn neither_unsigned_nor_signatures_change_an_id(
        number in 1..=12_u8, content in object(), unsigned in object(),
    ) {
        let mut json = pdu(number, "m.room.message", &content, &json!({}));
        let plain = read(&json, number);
        json["unsigned"] = unsigned;
        let with_unsigned = read(&json, number);
        prop_assert_eq!(plain.event_id(), with_unsigned.event_id());
        prop_assert_eq!(plain.json(), with_unsigned.json());
        let signed = add_signature(&plain, &key(), server_name!("b.test"), version(number)).unwrap();
        prop_assert_eq!(plain.event_id(), signed.event_id());
        prop_assert_ne!(plain.json(), signed.json());
    }

    #[test]
    fn what_is_built_reads_back_as_it_is(number in 1..=12_u8, content in object()) {
        let version = version(number);
        let event = build(version, content.clone()).unwrap();
        prop_assert!(verify_content_hash(&event));
        prop_assert_eq!(&event.content_as::<Value>().unwrap(), &content);
        let read = Pdu::from_json(event.json().clone(), version).unwrap();
        prop_assert_eq!(read.json(), event.json());
        prop_assert_eq!(read.event_id(), event.event_id());
    }

    #[test]
    fn strict_canonical_json_is_rumas(value in any_json()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let ours = canonicalise(text.as_bytes(), Numbers::Strict).unwrap();
        let theirs: CanonicalJsonValue = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(String::from_utf8(ours).unwrap(), theirs.to_string());
    }

    #[test]
    fn tolerant_canonical_json_is_stable_and_keeps_numbers(
        value in any_json(), number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let text = format!("{{ \"n\" : {number} , \"a\" : {value} }}");
        let once = canonicalise(text.as_bytes(), Numbers::AsText).unwrap();
        prop_assert_eq!(&canonicalise(&once, Numbers::AsText).unwrap(), &once);
        let once = String::from_utf8(once).unwrap();
        let ending = format!(",\"n\":{number}}}");
        prop_assert!(once.ends_with(&ending), "{}", once);
    }

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        for numbers in [Numbers::Strict, Numbers::AsText] {
            let _ = canonicalise(text.as_bytes(), numbers);
            let _ = canonicalise(&bytes, numbers);
        }
    }

    #[test]
    fn no_event_panics(
        number in 1..=12_u8, kind in 0..TYPES.len(), content in object(), field in "(type|sender|\
        room_id|state_key|depth|prev_events|auth_events|hashes|signatures|content|redacts)",
        value in any_json(),
    ) {
        let version = version(number);
        let mut json = pdu(number, TYPES[kind], &content, &json!({}));
        json[field] = value;
        let Ok(event) = Pdu::from_json(Bytes::from(json.to_string()), version) else {
            return Ok(());
        };
        let _ = event.redacted(version);
        let _ = events::check_state_independent(version, &event, |_| None);
        let event = std::sync::Arc::new(event);
        let _ = events::check_auth(version, &event, |_, _| Some(event.clone()));
        let _ = events::verify_signatures(&event, version, |_, _| Some(key().public_key()));
        let _ = events::ClientEvent::new(&event, version);
        let _ = RoomVersion::parse(&content.to_string());
    }
}
