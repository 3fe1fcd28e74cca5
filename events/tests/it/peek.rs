//! Where a PDU says it belongs, before its version is known.

use events::{FormatError, MAX_PDU_BYTES, peek};

#[test]
fn a_pdu_tells_where_it_belongs() {
    let json = br#"{"type":"m.room.message","sender":"@a:a.test","room_id":"!r:a.test","depth":1.5,
        "event_id":"$e:a.test","content":{"room_id":"!other:a.test"}}"#;
    let found = peek(json).unwrap();
    assert_eq!(found.room_id.unwrap(), "!r:a.test");
    assert_eq!(found.event_type, "m.room.message");
    assert_eq!(found.sender, "@a:a.test");
    assert_eq!(found.event_id.unwrap(), "$e:a.test");
    let create = peek(br#"{"type":"m.room.create","sender":"@a:a.test","event_id":7}"#).unwrap();
    assert_eq!((create.room_id, create.event_id), (None, None));
}

#[test]
fn depth_is_harmless() {
    let levels = 30_000;
    let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let json = format!(r#"{{"content":{nested},"type":"x","sender":"@a:a.test"}}"#);
    assert!(peek(json.as_bytes()).is_ok());
}

#[test]
fn what_is_no_event_has_no_place() {
    let field =
        |json: &str| assert!(matches!(peek(json.as_bytes()), Err(FormatError::Field(_))), "{json}");
    field(r#"{}"#);
    field(r#"{"type":"x"}"#);
    field(r#"{"type":1,"sender":"@a:a.test"}"#);
    field(r#"{"type":"x","sender":"a"}"#);
    field(r#"{"type":"x","sender":"@a:a.test","room_id":"r"}"#);
    field(r#"{"type":"x","sender":"@a:a.test","room_id":["!r:a.test"]}"#);
    field(r#"{"type":"x","sender":"@a:a.test","room_id":"!r:a.test","room_id":"!s:a.test"}"#);
    field("[]");
    for json in ["", "{", r#"{"type":"x","sender":"@a:a.test"} 1"#, "\u{1}"] {
        assert!(matches!(peek(json.as_bytes()), Err(FormatError::Json(_))), "{json}");
    }
    assert_eq!(peek(&vec![b' '; 8 * MAX_PDU_BYTES + 1]), Err(FormatError::TooLarge));
}
