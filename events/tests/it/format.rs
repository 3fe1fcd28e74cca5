//! What is a PDU, in each room version, up to the exact limits.

use bytes::Bytes;
use events::{FormatError, Pdu, RoomVersion};
use serde_json::{Value, json};

fn minimal(version: &RoomVersion) -> Value {
    let mut json = json!({
        "auth_events": [], "content": {}, "depth": 1, "hashes": {}, "origin_server_ts": 1,
        "prev_events": [], "room_id": "!room:a.test", "sender": "@alice:a.test", "signatures": {},
        "type": "m.room.message",
    });
    if version.event_id_in_pdu() {
        json["event_id"] = json!("$id:a.test");
    }
    json
}

fn read(json: &Value, version: &RoomVersion) -> Result<Pdu, FormatError> {
    read_text(&json.to_string(), version)
}

fn read_text(text: &str, version: &RoomVersion) -> Result<Pdu, FormatError> {
    Pdu::from_json(Bytes::copy_from_slice(text.as_bytes()), version)
}

fn number(version: &RoomVersion) -> u8 {
    version.as_str().parse().unwrap()
}

#[test]
fn missing_and_mistyped_fields() {
    let fields = [
        "type",
        "sender",
        "room_id",
        "content",
        "depth",
        "origin_server_ts",
        "prev_events",
        "auth_events",
    ];
    for version in RoomVersion::all() {
        read(&minimal(version), version).unwrap();
        for field in fields {
            let mut json = minimal(version);
            json.as_object_mut().unwrap().remove(field);
            assert_eq!(read(&json, version).err(), Some(FormatError::Field(field)));
            for wrong in [json!(null), json!(true), json!("text"), json!(-1), json!([1]), json!({})]
            {
                let fits = match field {
                    "type" => wrong.is_string(),
                    "content" => wrong.is_object(),
                    _ => false,
                };
                json[field] = wrong;
                assert_eq!(read(&json, version).is_ok(), fits, "{field} {}", json[field]);
            }
        }
        let mut json = minimal(version);
        json["state_key"] = json!(1);
        assert_eq!(read(&json, version).err(), Some(FormatError::Field("state_key")));
        for text in ["", "[]", "1", "null", "\"a\"", "{"] {
            assert!(read_text(text, version).is_err());
        }
    }
}

#[test]
fn event_id_stands_in_the_pdu_of_versions_1_and_2_only() {
    for version in RoomVersion::all() {
        let mut json = minimal(version);
        json.as_object_mut().unwrap().remove("event_id");
        assert_eq!(read(&json, version).is_ok(), number(version) > 2);
        let event = read(&minimal(version), version).unwrap();
        assert_eq!(event.event_id().as_str() == "$id:a.test", number(version) <= 2);
    }
}

#[test]
fn references_are_pairs_in_versions_1_and_2() {
    for version in RoomVersion::all() {
        for (reference, is_pair) in [
            (json!(["$a:a.test", { "sha256": "x" }]), true),
            (json!(["$a:a.test"]), true),
            (json!("$a:a.test"), false),
        ] {
            let mut json = minimal(version);
            json["prev_events"] = json!([reference]);
            let event = read(&json, version);
            assert_eq!(event.is_ok(), is_pair == (number(version) <= 2));
            if let Ok(event) = event {
                assert_eq!(event.prev_events()[0], "$a:a.test");
            }
        }
    }
}

#[test]
fn twenty_previous_and_ten_auth_events() {
    for (field, limit) in [("prev_events", 20), ("auth_events", 10)] {
        for version in RoomVersion::all() {
            let with = |count: usize| {
                let mut json = minimal(version);
                json[field] = (0..count)
                    .map(|index| {
                        let id = format!("${index}:a.test");
                        if number(version) <= 2 { json!([id, {}]) } else { json!(id) }
                    })
                    .collect();
                read(&json, version).err()
            };
            assert_eq!(with(limit), None);
            assert_eq!(with(limit + 1), Some(FormatError::TooMany(field)));
        }
    }
}

#[test]
fn size_counts_canonical_bytes_with_unsigned() {
    for version in RoomVersion::all() {
        let mut json = minimal(version);
        json["unsigned"] = json!({ "age": 1 });
        let length = json.to_string().len();
        let padded = |size: usize| {
            let mut json = json.clone();
            json["type"] = json!("m.room.message");
            json["content"] = json!({ "x": "y".repeat(size - length - r#""x":"""#.len()) });
            assert_eq!(json.to_string().len(), size);
            // White space does not count.
            read_text(&format!("  {json}\n"), version).map(|event| event.json().len())
        };
        assert_eq!(padded(65_535), Ok(65_535 - r#","unsigned":{"age":1}"#.len()));
        assert!(padded(65_536).is_ok());
        assert_eq!(padded(65_537), Err(FormatError::TooLarge));
        assert_eq!(padded(1_000_000), Err(FormatError::TooLarge));
    }
}

#[test]
fn identifiers_of_255_bytes_and_no_more() {
    for version in RoomVersion::all() {
        for field in ["type", "state_key", "sender", "room_id", "event_id"] {
            if field == "event_id" && !version.event_id_in_pdu() {
                continue;
            }
            let (prefix, suffix) = match field {
                "sender" => ("@", ":a.test"),
                "room_id" => ("!", ":a.test"),
                "event_id" => ("$", ":a.test"),
                _ => ("", ""),
            };
            let with = |length: usize| {
                let mut json = minimal(version);
                let fill = "x".repeat(length - prefix.len() - suffix.len());
                json[field] = json!(format!("{prefix}{fill}{suffix}"));
                read(&json, version).err()
            };
            assert_eq!(with(255), None, "{field}");
            assert_eq!(with(256), Some(FormatError::IdTooLong(field)));
        }
        // Before version 11 deployed servers counted characters, not bytes.
        for field in ["type", "state_key"] {
            let mut json = minimal(version);
            json[field] = json!("é".repeat(200));
            assert_eq!(read(&json, version).is_ok(), number(version) < 11);
            json[field] = json!("é".repeat(256));
            assert!(read(&json, version).is_err());
        }
    }
}

#[test]
fn depth_and_numbers() {
    for version in RoomVersion::all() {
        let strict = number(version) >= 6;
        let with = |depth: &str| {
            let mut json = minimal(version);
            json["depth"] = json!("DEPTH");
            read_text(&json.to_string().replace("\"DEPTH\"", depth), version).map(|e| e.depth())
        };
        assert_eq!(with("0"), Ok(0));
        assert_eq!(with("9007199254740991"), Ok((1 << 53) - 1));
        assert_eq!(with("9007199254740992").is_err(), strict);
        assert_eq!(with("9223372036854775807").is_err(), strict);
        assert!(with("9223372036854775808").is_err());
        assert!(with("-1").is_err());
        assert_eq!(with("1.0").ok(), (!strict).then_some(1));
        assert!(with("1e999").is_err());
    }
}

#[test]
fn floats_in_content_are_kept_as_text_before_version_6() {
    for version in RoomVersion::all() {
        let text = minimal(version).to_string().replace(
            "\"content\":{}",
            r#""content":{ "b":1.50e2, "a":-0, "c":12345678901234567890}"#,
        );
        let event = read_text(&text, version);
        assert_eq!(event.is_ok(), number(version) < 6);
        if let Ok(event) = event {
            assert_eq!(event.content_str(), r#"{"a":-0,"b":1.50e2,"c":12345678901234567890}"#);
        }
    }
}

#[test]
fn nesting_up_to_127_levels() {
    for version in RoomVersion::all() {
        for (levels, accepted) in
            [(125, true), (126, true), (127, true), (128, false), (990, false)]
        {
            // The event itself and its content are the first two.
            let inner = levels - 2;
            let content = format!("{{\"a\":{}1{}}}", "[".repeat(inner), "]".repeat(inner));
            let text = minimal(version)
                .to_string()
                .replace("\"content\":{}", &format!("\"content\":{content}"));
            let event = read_text(&text, version);
            assert_eq!(event.is_ok(), accepted, "{levels}");
            if let Ok(event) = event {
                assert_eq!(event.content().get(), content);
                assert!(event.content_as::<Value>().is_ok());
            }
        }
    }
}

#[test]
fn nul_and_other_oddities_survive() {
    for version in RoomVersion::all() {
        let mut json = minimal(version);
        json["type"] = json!("a\u{0}b");
        json["state_key"] = json!("\u{0}\n\"\\é\u{7f}");
        json["content"] = json!({ "\u{0}": "\u{1}" });
        let event = read(&json, version).unwrap();
        assert_eq!(event.event_type(), "a\u{0}b");
        assert_eq!(event.state_key(), Some("\u{0}\n\"\\é\u{7f}"));
        let again = Pdu::from_json(event.json().clone(), version).unwrap();
        assert_eq!(again.event_id(), event.event_id());
        assert_eq!(again.json(), event.json());
        let content: Value = event.content_as().unwrap();
        assert_eq!(content, json["content"]);
        assert_eq!(event.content().get(), event.content_str());
    }
}

#[test]
fn stored_events_are_read_back() {
    for version in RoomVersion::all() {
        let event = read(&minimal(version), version).unwrap();
        let stored =
            Pdu::from_stored(event.event_id().clone(), event.json().clone(), version).unwrap();
        assert_eq!(stored.event_id(), event.event_id());
        assert_eq!(stored.room_id(), event.room_id());
        assert_eq!(stored.content_str(), event.content_str());
    }
}

#[test]
fn versions_by_name() {
    assert_eq!(RoomVersion::all().count(), 12);
    assert_eq!(RoomVersion::default_version().as_str(), "12");
    assert_eq!(RoomVersion::parse("org.matrix.hydra.11").map(RoomVersion::as_str), Some("12"));
    for unknown in ["", "0", "13", "01", "1 ", "org.matrix.msc2870"] {
        assert!(RoomVersion::parse(unknown).is_none());
    }
}
