//! The rules that need no state: create events, and which auth events an event may cite.

use events::{AuthError, auth_events_for, check_state_independent};
use ruma::{EventId, UserId};
use serde_json::{Value, json, value::to_raw_value};

use crate::room::{ALICE, BOB, TestRoom, Tip, version};

fn check(room: &TestRoom, event: &events::Pdu) -> Result<(), AuthError> {
    check_state_independent(room.version, event, |id| room.get(id))
}

#[test]
fn create_events() {
    type Case = (&'static str, fn(&mut Value), fn(u8) -> bool);
    let cases: [Case; 10] = [
        ("as it should be", |_| (), |_| true),
        ("with previous events", |json| json["prev_events"] = json!(["PREV"]), |_| false),
        ("room of another server", |json| json["room_id"] = json!("!x:b.test"), |_| false),
        ("room of the same server", |json| json["room_id"] = json!("!x:a.test"), |n| n < 12),
        (
            "without creator",
            |json| drop(json["content"].as_object_mut().unwrap().remove("creator")),
            |n| n >= 11,
        ),
        ("unknown version", |json| json["content"]["room_version"] = json!("none"), |_| false),
        ("version of the wrong type", |json| json["content"]["room_version"] = json!(1), |_| false),
        (
            "without version",
            |json| drop(json["content"].as_object_mut().unwrap().remove("room_version")),
            |n| n == 1,
        ),
        (
            "additional creators",
            |json| json["content"]["additional_creators"] = json!(["@x:y"]),
            |_| true,
        ),
        (
            "malformed additional creators",
            |json| json["content"]["additional_creators"] = json!(["@x:y", "x"]),
            |n| n < 12,
        ),
    ];
    for number in 1..=12 {
        for (name, change, allowed) in cases {
            let mut room = TestRoom::empty(number, json!({}));
            let create = room.state_event("m.room.create", "").unwrap();
            let mut json: Value = serde_json::from_slice(create.json()).unwrap();
            change(&mut json);
            if json["prev_events"] == json!(["PREV"]) {
                json["prev_events"] = room.references(&[create.event_id().clone()]);
            }
            let event = room.add(&json);
            let verdict = check(&room, &event);
            assert_eq!(verdict.is_ok(), allowed(number), "{name} in version {number}: {verdict:?}");
        }
    }
}

#[test]
fn cited_auth_events() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        room.join(BOB);
        let bobs = room.state_event("m.room.member", BOB).unwrap();
        let tip = room.tip.clone();
        let selected: Vec<_> = tip
            .state
            .iter()
            .filter(|((event_type, key), _)| match event_type.as_str() {
                "m.room.create" => number < 12,
                "m.room.member" => key == ALICE,
                event_type => event_type == "m.room.power_levels",
            })
            .map(|(_, id)| id.clone())
            .collect();
        let mut verdict = |ids: &[ruma::OwnedEventId]| {
            let mut json =
                room.template(&tip, ALICE, "m.room.message", None, json!({ "body": "x" }));
            json["auth_events"] = room.references(ids);
            let event = room.add(&json);
            check(&room, &event)
        };
        let with = |id: &EventId| [&selected[..], &[id.to_owned()]].concat();
        assert_eq!(verdict(&selected), Ok(()));
        let refused = |verdict| matches!(verdict, Err(AuthError::Forbidden(_)));
        assert!(refused(verdict(&with(&selected[0]))), "twice the same");
        assert!(refused(verdict(&with(bobs.event_id()))), "not selected");
        let create = tip.id("m.room.create", "").unwrap();
        assert!(refused(verdict(&with(create))), "the create event twice or at all");
        let without: Vec<_> = selected.iter().filter(|id| *id != create).cloned().collect();
        assert_eq!(verdict(&without).is_ok(), number == 12, "no create event");
        let unknown = ruma::event_id!("$unknown:a.test").to_owned();
        assert_eq!(verdict(&with(&unknown)), Err(AuthError::MissingEvent(unknown)));
    }
}

#[test]
fn rejected_and_foreign_auth_events() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        let tip = room.tip.clone();
        let json = room.template(&tip, ALICE, "m.room.message", None, json!({ "body": "x" }));
        let event = room.add(&json);
        let levels = tip.id("m.room.power_levels", "").unwrap();
        let rejected = check_state_independent(room.version, &event, |id| {
            let event = room.get(id)?;
            Some(if id == levels { (*event).clone().into_rejected().into() } else { event })
        });
        assert!(matches!(rejected, Err(AuthError::Forbidden(_))));

        // A message cited as if it were state.
        let mut json = json.clone();
        json["auth_events"] = room.references(&[event.event_id().clone()]);
        if number < 3 {
            json["event_id"] = json!("$other:a.test");
        }
        let citing = room.add(&json);
        assert!(matches!(check(&room, &citing), Err(AuthError::Forbidden(_))));

        // The room of a create event in version 12 is its hash; before, any other room will do.
        json["auth_events"] = room.references(std::slice::from_ref(levels));
        json["room_id"] = json!(format!("!{}", "x".repeat(43)));
        let foreign = room.add(&json);
        let create = ruma::OwnedEventId::try_from(format!("${}", "x".repeat(43))).unwrap();
        match check(&room, &foreign) {
            Err(AuthError::MissingEvent(id)) => assert_eq!((number, id), (12, create)),
            Err(AuthError::Forbidden(_)) => assert!(number < 12),
            Ok(()) => panic!("accepted in version {number}"),
        }
    }
}

#[test]
fn a_room_id_that_names_no_create_event() {
    let mut room = TestRoom::public(12);
    let member = room.tip.id("m.room.member", ALICE).unwrap().clone();
    let tip = Tip::default();
    let mut json = room.template(&tip, ALICE, "m.room.message", None, json!({}));
    json["room_id"] = json!(member.as_str().replace('$', "!"));
    let event = room.add(&json);
    assert!(matches!(check(&room, &event), Err(AuthError::Forbidden(_))));
}

#[test]
fn selection_for_memberships() {
    let select = |number: u8, content: Value| {
        let content = to_raw_value(&content).unwrap();
        let sender = UserId::parse(ALICE).unwrap();
        let keys = auth_events_for(version(number), "m.room.member", &sender, Some(BOB), &content);
        let keys = keys.map_err(|_| "refused")?;
        Ok(keys
            .into_iter()
            .filter(|(event_type, key)| {
                !matches!(event_type.as_str(), "m.room.create" | "m.room.power_levels")
                    && key != ALICE
            })
            .map(|(event_type, key)| format!("{}/{key}", event_type.replace("m.room.", "")))
            .collect::<Vec<_>>()
            .join(" "))
    };
    let signed = json!({ "signed": { "token": "T", "mxid": BOB } });
    for number in 1..=12 {
        let select = |content| select(number, content);
        let member = |rest: &str| Ok::<_, &str>(format!("member/{BOB}{rest}"));
        assert_eq!(select(json!({ "membership": "leave" })), member(""));
        assert_eq!(select(json!({ "membership": "ban" })), member(""));
        assert_eq!(select(json!({ "membership": "join" })), member(" join_rules/"));
        assert_eq!(select(json!({ "membership": "knock" })), member(" join_rules/"));
        assert_eq!(
            select(json!({ "membership": "invite", "third_party_invite": signed })),
            member(" join_rules/ third_party_invite/T")
        );
        let via = json!({ "membership": "join", "join_authorised_via_users_server": "@d:e" });
        let rest = if number < 8 { " join_rules/" } else { " join_rules/ member/@d:e" };
        assert_eq!(select(via), member(rest));
        for malformed in [
            json!({}),
            json!({ "membership": 1 }),
            json!({ "membership": "invite", "third_party_invite": {} }),
            json!({ "membership": "invite", "third_party_invite": { "signed": { "token": 1 } } }),
            json!([]),
        ] {
            assert_eq!(select(malformed), Err("refused"));
        }
        let via = json!({ "membership": "join", "join_authorised_via_users_server": 1 });
        assert_eq!(select(via).is_err(), number >= 8);
    }
}
