//! What redaction leaves of each kind of event, in each room version.

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use ruma::{CanonicalJsonObject, canonical_json::redact};
use serde_json::{Value, json};

fn event(event_type: &str, content: &Value, version: &RoomVersion) -> Pdu {
    let mut json = json!({
        "age_ts": 1, "auth_events": [], "content": content, "depth": 1, "extra": 1,
        "hashes": { "sha256": "x" }, "membership": "join", "origin": "a.test",
        "origin_server_ts": 1, "prev_events": [], "prev_state": [], "redacts": "$x:a.test",
        "room_id": "!room:a.test", "sender": "@alice:a.test",
        "signatures": { "a.test": { "ed25519:1": "x" } }, "state_key": "", "type": event_type,
        "unsigned": { "age": 1 },
    });
    if version.event_id_in_pdu() {
        json["event_id"] = json!("$id:a.test");
    }
    if version.room_id_is_create_hash() && event_type == "m.room.create" {
        json.as_object_mut().unwrap().remove("room_id");
    }
    Pdu::from_json(Bytes::from(json.to_string()), version).unwrap()
}

fn contents() -> Vec<(&'static str, Value)> {
    vec![
        ("m.room.message", json!({ "body": "x", "msgtype": "m.text" })),
        (
            "m.room.member",
            json!({
                "membership": "join", "displayname": "x",
                "join_authorised_via_users_server": "@x:y",
                "third_party_invite": { "signed": { "a": 1 }, "display_name": "x" },
            }),
        ),
        ("m.room.create", json!({ "creator": "@x:y", "room_version": "1", "x": 1 })),
        ("m.room.join_rules", json!({ "join_rule": "public", "allow": [], "x": 1 })),
        (
            "m.room.power_levels",
            json!({
                "ban": 1, "events": {}, "events_default": 1, "invite": 1, "kick": 1,
                "notifications": {}, "redact": 1, "state_default": 1, "users": {},
                "users_default": 1, "x": 1,
            }),
        ),
        ("m.room.history_visibility", json!({ "history_visibility": "shared", "x": 1 })),
        ("m.room.aliases", json!({ "aliases": ["#x:y"], "x": 1 })),
        ("m.room.redaction", json!({ "redacts": "$x:y", "reason": "x" })),
        ("m.room.server_acl", json!({ "allow": ["*"] })),
    ]
}

#[test]
fn what_is_left() {
    let mut table = String::new();
    for (event_type, content) in contents() {
        let mut first = None;
        for (version, next) in
            RoomVersion::all().zip(RoomVersion::all().skip(1).map(Some).chain([None]))
        {
            let first = first.get_or_insert(version.as_str());
            let left = left_of(event_type, &content, version);
            if next.is_some_and(|next| left_of(event_type, &content, next) == left) {
                continue;
            }
            table.push_str(&format!("{event_type} {first}-{}: {left}\n", version.as_str()));
            *first = next.map_or("", RoomVersion::as_str);
        }
    }
    insta::assert_snapshot!("what_is_left", table);
}

/// The redacted content, and which of the top-level keys that versions differ about.
fn left_of(event_type: &str, content: &Value, version: &RoomVersion) -> String {
    let redacted = event(event_type, content, version).redacted(version);
    let json: serde_json::Map<String, Value> = serde_json::from_slice(redacted.json()).unwrap();
    for key in ["age_ts", "extra", "redacts", "unsigned"] {
        assert!(!json.contains_key(key));
    }
    let optional = ["membership", "origin", "prev_state"].into_iter();
    let optional: Vec<_> = optional.filter(|key| json.contains_key(*key)).collect();
    format!("{} {optional:?}", redacted.content_str())
}

#[test]
fn an_event_keeps_its_id_and_redaction_does_nothing_twice() {
    for (event_type, content) in contents() {
        for version in RoomVersion::all() {
            let event = event(event_type, &content, version);
            let once = event.redacted(version);
            assert_eq!(once.event_id(), event.event_id());
            let read = Pdu::from_json(once.json().clone(), version).unwrap();
            assert_eq!(read.event_id(), event.event_id());
            assert_eq!(read.content_str(), once.content_str());
            assert_eq!(once.redacted(version).json(), once.json());
        }
    }
}

#[test]
fn ruma_leaves_the_same() {
    for (event_type, content) in contents() {
        for version in RoomVersion::all() {
            let event = event(event_type, &content, version);
            let object: CanonicalJsonObject = serde_json::from_slice(event.json()).unwrap();
            let theirs = redact(object, &version.rules().redaction, None).unwrap();
            let ours: CanonicalJsonObject =
                serde_json::from_slice(event.redacted(version).json()).unwrap();
            assert_eq!(ours, theirs, "{event_type} {}", version.as_str());
        }
    }
}

#[test]
fn a_redaction_names_its_target_where_its_version_says() {
    for version in RoomVersion::all() {
        let in_content = version.as_str().parse::<u8>().unwrap() >= 11;
        let event = event("m.room.redaction", &json!({ "redacts": "$inner:y" }), version);
        let expected = if in_content { "$inner:y" } else { "$x:a.test" };
        assert_eq!(event.redacts().unwrap(), expected);
        let left = event.redacted(version);
        assert_eq!(left.redacts().is_some(), in_content);
    }
}
