//! Events as clients get them.

use bytes::Bytes;
use events::{ClientEvent, Pdu, RoomVersion, stripped};
use serde_json::{Value, json};

fn event(event_type: &str, extra: Value, version: &RoomVersion) -> Pdu {
    let mut json = json!({
        "auth_events": [], "content": { "a": 1 }, "depth": 1, "hashes": {},
        "origin_server_ts": 123, "prev_events": [], "room_id": "!room:a.test",
        "sender": "@alice:a.test", "signatures": {}, "type": event_type,
        "unsigned": { "age": 1 },
    });
    if version.event_id_in_pdu() {
        json["event_id"] = json!("$id:a.test");
    }
    json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    Pdu::from_json(Bytes::from(json.to_string()), version).unwrap()
}

fn written(pdu: &Pdu, version: &RoomVersion, unsigned: Option<&[u8]>) -> Value {
    let mut out = b"before".to_vec();
    ClientEvent::new(pdu, version).write(&mut out, Some(pdu.room_id()), unsigned);
    serde_json::from_slice(out.strip_prefix(b"before").unwrap()).unwrap()
}

#[test]
fn a_message_and_a_state_event() {
    for version in RoomVersion::all() {
        let message = event("m.room.message", json!({}), version);
        let expected = json!({
            "content": { "a": 1 }, "event_id": message.event_id(), "origin_server_ts": 123,
            "room_id": "!room:a.test", "sender": "@alice:a.test", "type": "m.room.message",
        });
        assert_eq!(written(&message, version, None), expected);

        let state = event("m.room.name", json!({ "state_key": "a\u{0}\"" }), version);
        let client = written(&state, version, Some(br#"{"age":5}"#));
        assert_eq!(client["state_key"], "a\u{0}\"");
        assert_eq!(client["unsigned"], json!({ "age": 5 }));
        let mut out = Vec::new();
        ClientEvent::new(&state, version).write(&mut out, None, None);
        assert!(serde_json::from_slice::<Value>(&out).unwrap().get("room_id").is_none());

        let stripped: Value = serde_json::from_slice(&stripped(&state)).unwrap();
        let expected = json!({
            "content": { "a": 1 }, "sender": "@alice:a.test", "state_key": "a\u{0}\"",
            "type": "m.room.name",
        });
        assert_eq!(stripped, expected);
    }
}

#[test]
fn the_target_of_a_redaction_stands_in_both_places() {
    for version in RoomVersion::all() {
        let extra = if version.redacts_in_content() {
            json!({ "content": { "redacts": "$x:y", "reason": "r" } })
        } else {
            json!({ "redacts": "$x:y", "content": { "reason": "r" } })
        };
        let redaction = event("m.room.redaction", extra, version);
        let client = written(&redaction, version, None);
        assert_eq!(client["redacts"], "$x:y");
        assert_eq!(client["content"], json!({ "redacts": "$x:y", "reason": "r" }));
    }
}
