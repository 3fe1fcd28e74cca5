//! Keys, hashes and signatures: the specification's vectors, tampering, and whose signature counts.

use bytes::Bytes;
use events::{
    BuildError, EventTemplate, Pdu, PublicKey, RoomVersion, SignatureError, SigningKey,
    add_signature, required_servers, sign_and_build, sign_json, verify_content_hash, verify_json,
    verify_signatures,
};
use ruma::{
    CanonicalJsonObject, OwnedEventId, ServerName, event_id, room_id, server_name,
    signatures::PublicKeyMap, user_id,
};
use serde_json::{json, value::to_raw_value};

use crate::room::version;

/// The specification's seed, `YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1`.
const SEED: [u8; 32] = [
    0x60, 0x90, 0xc1, 0x03, 0xd5, 0xe7, 0xaf, 0x6b, 0x15, 0xa9, 0x70, 0xfd, 0x56, 0x3e, 0xd7, 0x55,
    0x49, 0xe6, 0x15, 0x97, 0x19, 0xae, 0x5c, 0x3c, 0x31, 0xde, 0xe4, 0x31, 0x6f, 0xb7, 0x5c, 0x0d,
];

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&SEED, "1").unwrap()
}

fn keys(server: &'static str) -> impl Fn(&ServerName, &str) -> Option<PublicKey> {
    move |name, id| (name == server && id == "ed25519:1").then(|| key().public_key())
}

pub(crate) fn build(version: &RoomVersion, content: serde_json::Value) -> Result<Pdu, BuildError> {
    let content = to_raw_value(&content).unwrap();
    let prev: Vec<OwnedEventId> = vec![event_id!("$prev:a.test").to_owned()];
    let template = EventTemplate {
        room_id: Some(room_id!("!room:a.test")),
        sender: user_id!("@alice:a.test"),
        event_type: "m.room.message",
        state_key: None,
        content: &content,
        prev_events: &prev,
        auth_events: &[],
        depth: 7,
        origin_server_ts: 1_700_000_000_000,
        redacts: None,
    };
    sign_and_build(&template, &key(), server_name!("a.test"), version)
}

#[test]
fn specified_signatures_of_json() {
    let cases = [
        (
            "{}",
            r#"{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}"#,
        ),
        (
            r#"{"one":1,"two":"Two"}"#,
            r#"{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}"#,
        ),
    ];
    for (text, expected) in cases {
        let mut object: CanonicalJsonObject = serde_json::from_str(text).unwrap();
        sign_json(&mut object, &key(), server_name!("domain")).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), expected);
        verify_json(&object, server_name!("domain"), |_| Some(key().public_key())).unwrap();
        assert!(matches!(
            verify_json(&object, server_name!("other"), |_| Some(key().public_key())),
            Err(SignatureError::Unsigned(_))
        ));
        object.insert("three".to_owned(), true.into());
        assert!(matches!(
            verify_json(&object, server_name!("domain"), |_| Some(key().public_key())),
            Err(SignatureError::Wrong(..))
        ));
    }
}

#[test]
fn specified_signature_of_a_minimal_event() {
    let text = r#"{"room_id":"!x:domain","sender":"@a:domain","origin":"domain",
        "origin_server_ts":1000000,"signatures":{},
        "hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"type":"X","content":{},
        "prev_events":[],"auth_events":[],"depth":3,"unsigned":{"age_ts":1000000}}"#;
    // The versions whose PDUs have neither an id nor a protected `origin` less.
    for number in 3..=10 {
        let version = version(number);
        let event = Pdu::from_json(Bytes::from_static(text.as_bytes()), version).unwrap();
        assert!(verify_content_hash(&event));
        let event = add_signature(&event, &key(), server_name!("domain"), version).unwrap();
        let json: serde_json::Value = serde_json::from_slice(event.json()).unwrap();
        assert_eq!(
            json["signatures"]["domain"]["ed25519:1"],
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"
        );
        verify_signatures(&event, version, keys("domain")).unwrap();
    }
}

#[test]
fn events_built_here_verify_here_and_elsewhere() {
    for version in RoomVersion::all() {
        let event = build(version, json!({ "body": "hello" })).unwrap();
        assert!(verify_content_hash(&event), "{}", version.as_str());
        verify_signatures(&event, version, keys("a.test")).unwrap();

        let object: CanonicalJsonObject = serde_json::from_slice(event.json()).unwrap();
        let public_key = serde_json::from_value(json!(key().public_key().to_base64())).unwrap();
        let keys = PublicKeyMap::from([(
            "a.test".to_owned(),
            [("ed25519:1".to_owned(), public_key)].into(),
        )]);
        let verified = ruma::signatures::verify_event(&keys, &object, version.rules()).unwrap();
        assert_eq!(verified, ruma::signatures::Verified::All);
        if !version.event_id_in_pdu() {
            let hash = ruma::signatures::reference_hash(&object, version.rules()).unwrap();
            assert_eq!(event.event_id().as_str(), format!("${hash}"));
        }
    }
}

#[test]
fn event_ids_by_version() {
    let ids: Vec<String> = RoomVersion::all()
        .map(|version| {
            let event = build(version, json!({ "body": "hello" })).unwrap();
            format!("{:>2} {}", version.as_str(), event.event_id())
        })
        .collect();
    insta::assert_snapshot!("event_ids_by_version", ids.join("\n"));
}

#[test]
fn a_create_event_names_its_room_in_version_12() {
    let content = to_raw_value(&json!({ "room_version": "12" })).unwrap();
    let template = EventTemplate {
        room_id: None,
        sender: user_id!("@alice:a.test"),
        event_type: "m.room.create",
        state_key: Some(""),
        content: &content,
        prev_events: &[],
        auth_events: &[],
        depth: 1,
        origin_server_ts: 1_700_000_000_000,
        redacts: None,
    };
    let create = sign_and_build(&template, &key(), server_name!("a.test"), version(12)).unwrap();
    assert_eq!(create.room_id().as_str()[1..], create.event_id().as_str()[1..]);
    assert_eq!(create.room_id().server_name(), None);
    assert_eq!(events::room_create_event_id(create.room_id()).as_ref(), Some(create.event_id()));
    let error = sign_and_build(&template, &key(), server_name!("a.test"), version(11));
    assert!(matches!(error, Err(BuildError::Invalid(_))));
}

#[test]
fn tampering_shows() {
    for version in RoomVersion::all() {
        let event = build(version, json!({ "body": "hello" })).unwrap();
        let text = str::from_utf8(event.json()).unwrap();
        // What redaction strips is covered by the content hash only.
        let other = Bytes::from(text.replace("hello", "howdy"));
        let other = Pdu::from_json(other, version).unwrap();
        assert!(!verify_content_hash(&other));
        verify_signatures(&other, version, keys("a.test")).unwrap();
        // What it keeps is covered by the signature too.
        let other = Bytes::from(text.replace("\"depth\":7", "\"depth\":8"));
        let other = Pdu::from_json(other, version).unwrap();
        assert!(!verify_content_hash(&other));
        assert!(matches!(
            verify_signatures(&other, version, keys("a.test")),
            Err(SignatureError::Wrong(..))
        ));
        assert!(matches!(
            verify_signatures(&event, version, keys("b.test")),
            Err(SignatureError::UnknownKey(_))
        ));
    }
}

#[test]
fn whose_signature_is_required() {
    let member = |content: serde_json::Value, number: u8| {
        let mut json = json!({
            "type": "m.room.member", "state_key": "@bob:b.test", "sender": "@alice:a.test",
            "room_id": "!room:a.test", "content": content, "depth": 1, "origin_server_ts": 1,
            "prev_events": [], "auth_events": [], "hashes": {}, "signatures": {},
        });
        if number < 3 {
            json["event_id"] = json!("$id:c.test");
        }
        let bytes = Bytes::from(serde_json::to_vec(&json).unwrap());
        let event = Pdu::from_json(bytes, version(number)).unwrap();
        let servers = required_servers(&event, version(number));
        servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let invite = json!({ "membership": "invite" });
    let by_third_party = json!({ "membership": "invite", "third_party_invite": {} });
    let restricted = json!({
        "membership": "join", "join_authorised_via_users_server": "@dave:d.test",
    });
    for number in 1..=12 {
        let id = if number < 3 { "c.test" } else { "" };
        assert_eq!(member(invite.clone(), number), format!("a.test {id}").trim());
        assert_eq!(member(by_third_party.clone(), number), id);
        let authoriser = if number < 8 { "" } else { "d.test" };
        assert_eq!(member(restricted.clone(), number), format!("a.test {id}{authoriser}").trim());
    }
}

#[test]
fn what_cannot_be_sent_is_not_built() {
    let bad_json = |content: &str| {
        let content = serde_json::from_str::<Box<serde_json::value::RawValue>>(content).unwrap();
        RoomVersion::all().all(|version| {
            let template = EventTemplate {
                room_id: Some(room_id!("!room:a.test")),
                sender: user_id!("@alice:a.test"),
                event_type: "m.room.message",
                state_key: None,
                content: &content,
                prev_events: &[],
                auth_events: &[],
                depth: 1,
                origin_server_ts: 1,
                redacts: None,
            };
            let built = sign_and_build(&template, &key(), server_name!("a.test"), version);
            matches!(built, Err(BuildError::BadJson(_)))
        })
    };
    for number in ["1.5", "1e3", "-0", "9007199254740992", "-9007199254740992"] {
        assert!(bad_json(&format!(r#"{{"a":{{"b":[{number}]}}}}"#)), "{number}");
    }
    for content in ["[]", "null", "\"text\"", "1"] {
        assert!(bad_json(content), "{content}");
    }
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(!bad_json(&nested(126)));
    assert!(bad_json(&nested(127)));
}

#[test]
fn events_of_the_largest_size_are_built_and_no_larger() {
    for version in RoomVersion::all() {
        let empty = build(version, json!({ "body": "" })).unwrap().json().len();
        let body = |size: usize| json!({ "body": "x".repeat(size - empty) });
        let largest = build(version, body(events::MAX_PDU_BYTES)).unwrap();
        assert_eq!(largest.json().len(), 65_536);
        assert!(Pdu::from_json(largest.json().clone(), version).is_ok());
        let too_large = build(version, body(events::MAX_PDU_BYTES + 1));
        assert!(matches!(too_large, Err(BuildError::TooLarge(_))));
    }
}

#[test]
fn keys_survive_storage_and_junk_is_no_key() {
    let again = SigningKey::from_seed(&key().to_bytes(), "1").unwrap();
    assert_eq!(again.public_key(), key().public_key());
    assert_eq!(key().key_id(), "ed25519:1");
    assert_eq!(PublicKey::from_base64(&key().public_key().to_base64()), Ok(key().public_key()));
    for junk in ["", "AAAA", "not base64", &"A".repeat(60)] {
        assert!(PublicKey::from_base64(junk).is_err());
    }
    for version in ["", "a b", "a:b", "é"] {
        assert!(SigningKey::from_seed(&SEED, version).is_err());
    }
    assert!(SigningKey::from_pkcs8(b"junk", "1").is_err());
    assert!(!format!("{:?}", key()).contains(&format!("{:?}", SEED[0])));
}
