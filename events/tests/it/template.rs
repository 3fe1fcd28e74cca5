//! What gets our signature when another server hands out a template.

use events::{
    BuildError, Pdu, TemplateExpectation, complete_template, verify_content_hash, verify_signatures,
};
use ruma::{room_id, server_name, user_id};
use serde_json::{Value, json, value::to_raw_value};

use crate::{room::version, signing::key};

fn template(number: u8, membership: &str) -> Value {
    let references = |id: &str| if number < 3 { json!([[id, {}]]) } else { json!([id]) };
    json!({
        "type": "m.room.member",
        "room_id": "!room:far.test",
        "sender": "@me:a.test",
        "state_key": "@me:a.test",
        "content": { "membership": membership },
        "prev_events": references("$prev:far.test"),
        "auth_events": references("$auth:far.test"),
        "depth": 12,
        "origin_server_ts": 1,
    })
}

fn complete(number: u8, membership: &str, template: &Value) -> Result<Pdu, BuildError> {
    let content = to_raw_value(&json!({
        "displayname": "Me", "reason": "why not", "membership": "ban",
        "join_authorised_via_users_server": "@me:a.test",
    }));
    let expected = TemplateExpectation {
        room_id: room_id!("!room:far.test"),
        user: user_id!("@me:a.test"),
        membership,
        content: Some(&content.unwrap()),
    };
    let template = to_raw_value(template).unwrap();
    complete_template(
        &template,
        &expected,
        1_700_000_000_000,
        &key(),
        server_name!("a.test"),
        version(number),
    )
}

fn json_of(pdu: &Pdu) -> Value {
    serde_json::from_slice(pdu.json()).unwrap()
}

#[test]
fn a_template_becomes_the_event_that_was_asked_for() {
    for number in 1..=12 {
        for membership in ["join", "leave", "knock"] {
            let pdu = complete(number, membership, &template(number, membership)).unwrap();
            assert!(verify_content_hash(&pdu));
            verify_signatures(&pdu, version(number), |_, _| Some(key().public_key())).unwrap();
            let json = json_of(&pdu);
            let content =
                json!({ "displayname": "Me", "reason": "why not", "membership": membership });
            assert_eq!(json["content"], content);
            assert_eq!(json["origin_server_ts"], 1_700_000_000_000_u64);
            assert_eq!(pdu.depth(), 12);
            assert_eq!(pdu.prev_events()[0], "$prev:far.test");
            assert_eq!(pdu.auth_events()[0], "$auth:far.test");
        }
    }
}

#[test]
fn nothing_else_gets_a_signature() {
    let fields = [
        ("type", json!(["m.room.power_levels", "m.room.create", 1, null])),
        ("room_id", json!(["!other:far.test", "", null, {}])),
        ("sender", json!(["@you:a.test", "@me:far.test", null, 7])),
        ("state_key", json!(["@you:a.test", "", null, ["@me:a.test"]])),
        ("content", json!([{ "membership": "ban" }, { "membership": null }, {}, "join", null])),
    ];
    let mut refused = 0;
    for (number, membership) in [(1, "join"), (6, "leave"), (11, "knock"), (12, "join")] {
        for (field, values) in &fields {
            for value in values.as_array().unwrap() {
                let mut bad = template(number, membership);
                bad[field] = value.clone();
                let error = complete(number, membership, &bad).unwrap_err();
                assert!(matches!(error, BuildError::Invalid(_)), "{field} {value}: {error}");
                refused += 1;
            }
            let mut bad = template(number, membership);
            bad.as_object_mut().unwrap().remove(*field);
            assert!(complete(number, membership, &bad).is_err(), "{field} missing");
            refused += 1;
        }
    }
    assert_eq!(refused, 104);
}

#[test]
fn what_a_template_adds_is_left_out() {
    let mut odd = template(11, "join");
    odd["redacts"] = json!("$target:far.test");
    odd["content"]["redacts"] = json!("$target:far.test");
    odd["content"]["displayname"] = json!("Somebody");
    odd["unsigned"] = json!({ "age": 1 });
    odd["signatures"] = json!({ "a.test": { "ed25519:1": "AAAA" } });
    odd["hashes"] = json!({ "sha256": "AAAA" });
    odd["event_id"] = json!("$chosen:far.test");
    odd["origin"] = json!("far.test");
    odd["membership"] = json!("join");
    let pdu = complete(11, "join", &odd).unwrap();
    assert_eq!(pdu.json(), complete(11, "join", &template(11, "join")).unwrap().json());
}

#[test]
fn only_another_server_authorises_a_join() {
    let with = |number, membership, user: Value| {
        let mut template = template(number, membership);
        template["content"]["join_authorised_via_users_server"] = user;
        complete(number, membership, &template)
    };
    let authoriser =
        |pdu: &Pdu| json_of(pdu)["content"]["join_authorised_via_users_server"].clone();
    let far = json!("@admin:far.test");
    assert_eq!(authoriser(&with(8, "join", far.clone()).unwrap()), far);
    assert_eq!(authoriser(&with(7, "join", far.clone()).unwrap()), Value::Null);
    assert_eq!(authoriser(&with(8, "leave", far).unwrap()), Value::Null);
    for bad in [json!("@admin:a.test"), json!("@me:a.test"), json!("far.test"), json!(1)] {
        assert!(matches!(with(12, "join", bad), Err(BuildError::Invalid(_))));
    }
}

#[test]
fn a_place_in_history_is_needed_and_bounded() {
    let with = |number, field: &str, value: Value| {
        let mut template = template(number, "join");
        template[field] = value;
        complete(number, "join", &template)
    };
    let ids = |count: usize| (0..count).map(|id| format!("${id}:far.test")).collect::<Vec<_>>();
    assert!(with(12, "prev_events", json!(ids(20))).is_ok());
    assert!(with(12, "auth_events", json!(ids(10))).is_ok());
    assert!(with(12, "auth_events", json!([])).is_ok());
    for (field, bad) in [
        ("prev_events", json!(ids(21))),
        ("prev_events", json!([])),
        ("prev_events", json!("$prev:far.test")),
        ("auth_events", json!(ids(11))),
        ("auth_events", json!([1])),
        ("depth", json!(-1)),
        ("depth", json!(1.5)),
        ("depth", json!(1_u64 << 53)),
        ("depth", json!("5")),
    ] {
        assert!(with(12, field, bad.clone()).is_err(), "{field} {bad}");
    }
    assert_eq!(with(5, "depth", json!(i64::MAX)).unwrap().depth(), (1 << 53) - 1);
}
