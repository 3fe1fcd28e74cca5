//! Many signatures at once say what each says alone.

use bytes::Bytes;
use events::{
    Pdu, PublicKey, RoomVersion, SignatureError, SigningKey, add_signature, required_keys,
    verify_signatures, verify_signatures_batch,
};
use ruma::{ServerName, server_name};
use serde_json::json;

use crate::{
    room::version,
    signing::{build, key},
};

fn known(server: &ServerName, id: &str) -> Option<PublicKey> {
    (server == "a.test" && id == "ed25519:1").then(|| key().public_key())
}

fn check(version: &RoomVersion, pdus: &[Pdu]) -> Vec<Result<(), SignatureError>> {
    let pdus: Vec<&Pdu> = pdus.iter().collect();
    let verdicts = verify_signatures_batch(&pdus, version, |_, server, id| known(server, id));
    let alone: Vec<_> = pdus.iter().map(|pdu| verify_signatures(pdu, version, known)).collect();
    assert_eq!(verdicts, alone);
    verdicts
}

fn events(version: &RoomVersion, count: u32) -> Vec<Pdu> {
    (0..count).map(|number| build(version, json!({ "number": number })).unwrap()).collect()
}

fn altered(pdu: &Pdu, from: &str, to: &str, version: &RoomVersion) -> Pdu {
    let text = str::from_utf8(pdu.json()).unwrap();
    assert!(text.contains(from));
    Pdu::from_json(Bytes::from(text.replace(from, to)), version).unwrap()
}

#[test]
fn right_ones_pass_in_any_number() {
    for count in [0, 1, 2, 127, 128, 129, 300] {
        let verdicts = check(version(11), &events(version(11), count));
        assert_eq!(verdicts.len(), count as usize);
        assert!(verdicts.iter().all(Result::is_ok));
    }
}

#[test]
fn wrong_ones_are_found_among_the_right_ones() {
    let version = version(11);
    let mut pdus = events(version, 200);
    for bad in [0, 77, 199] {
        pdus[bad] = altered(&pdus[bad], "\"depth\":7", "\"depth\":8", version);
    }
    pdus[3] = altered(&pdus[3], "ed25519:1", "ed25519:other", version);
    pdus[4] = altered(&pdus[4], "\"a.test\"", "\"b.test\"", version);
    // Of two signatures with known keys both count.
    let other = SigningKey::from_seed(&[9; 32], "2").unwrap();
    pdus[5] = add_signature(&pdus[5], &other, server_name!("a.test"), version).unwrap();
    let verdicts = check(version, &pdus);
    let failed: Vec<usize> = (0..200).filter(|&index| verdicts[index].is_err()).collect();
    assert_eq!(failed, [0, 3, 4, 77, 199]);
    assert!(matches!(verdicts[77], Err(SignatureError::Wrong(..))));
    assert!(matches!(verdicts[3], Err(SignatureError::UnknownKey(_))));
    assert!(matches!(verdicts[4], Err(SignatureError::Unsigned(_))));
}

#[test]
fn a_key_may_count_for_one_event_and_not_for_another() {
    let pdus = events(version(11), 10);
    let pdus: Vec<&Pdu> = pdus.iter().collect();
    let third = pdus[3].event_id();
    let verdicts = verify_signatures_batch(&pdus, version(11), |pdu, server, id| {
        known(server, id).filter(|_| pdu.event_id() != third)
    });
    let failed: Vec<usize> = (0..10).filter(|&index| verdicts[index].is_err()).collect();
    assert_eq!(failed, [3]);
}

#[test]
fn keys_that_are_asked_for_are_those_that_are_looked_at() {
    let version = version(11);
    let pdu = build(version, json!({})).unwrap();
    let other = |id: &str| SigningKey::from_seed(&[9; 32], id).unwrap();
    let pdu = add_signature(&pdu, &other("2"), server_name!("a.test"), version).unwrap();
    let pdu = add_signature(&pdu, &other("1"), server_name!("c.test"), version).unwrap();
    let pdu = add_signature(&pdu, &other("policy_server"), server_name!("a.test"), version);
    let ids: Vec<String> = required_keys(&pdu.unwrap(), version)
        .into_iter()
        .map(|(server, id)| format!("{server} {id}"))
        .collect();
    assert_eq!(ids, ["a.test ed25519:1", "a.test ed25519:2"]);
}
