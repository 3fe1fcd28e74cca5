//! Events of rooms before version 6 that canonical JSON forbids, hashed and signed by another
//! implementation (`fixtures/make_tolerant.py`).

use bytes::Bytes;
use events::{Pdu, SigningKey, verify_content_hash, verify_signatures};
use serde::Deserialize;

use crate::room::version;

#[derive(Deserialize)]
struct Case {
    version: u8,
    event_id: String,
    json: String,
}

#[test]
fn hashes_signatures_and_ids_cover_the_text_of_numbers() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/tolerant.json")).unwrap();
    let key = SigningKey::from_seed(&[7; 32], "1").unwrap().public_key();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let rules = version(case.version);
        let event = Pdu::from_json(Bytes::from(case.json.clone()), rules).unwrap();
        assert_eq!(event.event_id(), case.event_id.as_str());
        assert_eq!(event.json(), case.json.as_bytes());
        assert!(verify_content_hash(&event), "{}", case.json);
        verify_signatures(&event, rules, |_, _| Some(key)).unwrap();
        let redacted = event.redacted(rules);
        verify_signatures(&redacted, rules, |_, _| Some(key)).unwrap();

        let other = Bytes::from(case.json.replace("50.570", "50.57"));
        let other = Pdu::from_json(other, rules).unwrap();
        assert!(!verify_content_hash(&other), "another text is another number");
        assert!(Pdu::from_json(Bytes::from(case.json), version(6)).is_err());
    }
}
