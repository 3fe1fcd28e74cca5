//! Changing power levels.

use bytes::Bytes;
use events::{Level, Pdu, PowerLevels};
use ruma::user_id;
use serde_json::{Value, json};

use super::{ALWAYS, Case, NEVER, member, run};
use crate::room::{ALICE, BOB, CAROL, TestRoom};

/// The levels before the change: Bob and Dave at 50, Carol at 10.
fn before() -> Value {
    json!({
        "users": { ALICE: 100, BOB: 50, "@dave:b.test": 50, CAROL: 10 },
        "events": { "high": 80, "low": 20 },
        "notifications": { "room": 20 },
        "ban": 60,
    })
}

fn change(
    name: &'static str,
    sender: &'static str,
    change: fn(&mut Value),
    allowed: fn(u8) -> bool,
) -> Case {
    let mut content = before();
    // Alice's entry would be refused in version 12 for what it is; who sends it must not matter.
    change(&mut content);
    Case {
        name,
        state: vec![member(CAROL, "join"), (ALICE, "m.room.power_levels", "", before())],
        event: (sender, "m.room.power_levels", Some(""), content),
        allowed,
    }
}

/// As [`change`], in versions where creators have no entry.
fn run_all(cases: Vec<Case>) {
    let without_alice = |case: &Case| {
        let mut content = case.event.3.clone();
        content["users"].as_object_mut().map(|users| users.remove(ALICE));
        content
    };
    let mut failures = Vec::new();
    for case in &cases {
        for number in 1..=12 {
            let mut event = case.event.clone();
            if number == 12 {
                event.3 = without_alice(case);
            }
            let case =
                Case { name: case.name, state: case.state.clone(), event, allowed: case.allowed };
            let (room, event) = super::room_of(&case, number);
            let verdict = room.verdict(&event);
            if verdict.is_ok() != (case.allowed)(number) {
                failures.push(format!("{} in version {number}: {verdict:?}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn changes() {
    run_all(vec![
        change("nothing", BOB, |_| (), ALWAYS),
        change("nothing, by the weak", CAROL, |_| (), NEVER),
        change("raise oneself", BOB, |c| c["users"][BOB] = json!(51), NEVER),
        change("lower oneself", BOB, |c| c["users"][BOB] = json!(1), ALWAYS),
        change("raise another to one's own level", BOB, |c| c["users"][CAROL] = json!(50), ALWAYS),
        change("raise another above oneself", BOB, |c| c["users"][CAROL] = json!(51), NEVER),
        change("add another above oneself", BOB, |c| c["users"]["@new:x"] = json!(51), NEVER),
        change("lower an equal", BOB, |c| c["users"]["@dave:b.test"] = json!(1), NEVER),
        change(
            "remove an equal",
            BOB,
            |c| drop(c["users"].as_object_mut().unwrap().remove("@dave:b.test")),
            NEVER,
        ),
        change(
            "remove a lower",
            BOB,
            |c| drop(c["users"].as_object_mut().unwrap().remove(CAROL)),
            ALWAYS,
        ),
        change("lower a higher event", BOB, |c| c["events"]["high"] = json!(1), NEVER),
        change("raise a lower event", BOB, |c| c["events"]["low"] = json!(50), ALWAYS),
        change("raise a lower event too far", BOB, |c| c["events"]["low"] = json!(51), NEVER),
        change("add an event", BOB, |c| c["events"]["new"] = json!(51), NEVER),
        change("raise a notification", BOB, |c| c["notifications"]["room"] = json!(60), |n| n < 6),
        change("lower a notification", BOB, |c| c["notifications"]["room"] = json!(1), ALWAYS),
        change("lower a higher field", BOB, |c| c["ban"] = json!(1), NEVER),
        change(
            "remove a higher field",
            BOB,
            |c| drop(c.as_object_mut().unwrap().remove("ban")),
            NEVER,
        ),
        change("set a default field", BOB, |c| c["kick"] = json!(40), ALWAYS),
        change("set a field too high", BOB, |c| c["invite"] = json!(51), NEVER),
        change("above the creator", ALICE, |c| c["ban"] = json!(101), |n| n == 12),
        change("a user at the creator's level", ALICE, |c| c["users"][BOB] = json!(100), ALWAYS),
        change(
            "a user above the creator",
            ALICE,
            |c| c["users"][BOB] = json!(9_007_199_254_740_991_i64),
            |n| n == 12,
        ),
    ]);
}

#[test]
fn what_is_a_level() {
    run_all(vec![
        change("strings", ALICE, |c| c["users"][BOB] = json!("20"), |n| n < 10),
        change(
            "signed and padded strings",
            ALICE,
            |c| c["users"][BOB] = json!(" +0020\t"),
            |n| n < 10,
        ),
        change("a string field", ALICE, |c| c["ban"] = json!("55"), |n| n < 10),
        change("a string event level", ALICE, |c| c["events"]["low"] = json!("-5"), |n| n < 10),
        change("no number", ALICE, |c| c["users"][BOB] = json!("1.5"), NEVER),
        change("words", ALICE, |c| c["ban"] = json!("many"), NEVER),
        change("null", ALICE, |c| c["ban"] = json!(null), NEVER),
        change("no user id", ALICE, |c| c["users"]["bob"] = json!(1), NEVER),
        change("users is no object", ALICE, |c| c["users"] = json!([]), NEVER),
        change("events is no object", ALICE, |c| c["events"] = json!("x"), NEVER),
        change("notifications is no object", ALICE, |c| c["notifications"] = json!(1), NEVER),
    ]);
}

#[test]
fn creators_have_no_entry_in_version_12() {
    let levels = json!({ "users": { ALICE: 100, BOB: 50 } });
    run(vec![Case {
        name: "an entry for the creator",
        state: vec![],
        event: (ALICE, "m.room.power_levels", Some(""), levels),
        allowed: |n| n < 12,
    }]);
    for number in 1..=12 {
        let mut room = TestRoom::empty(number, json!({ "additional_creators": [CAROL] }));
        room.join(ALICE);
        room.join(CAROL);
        let tip = room.tip.clone();
        let entry = json!({ "users": { CAROL: 1 } });
        let event = room.event_at(&tip, ALICE, "m.room.power_levels", Some(""), entry, 1);
        assert_eq!(room.verdict(&event).is_ok(), number < 12);
        // An additional creator is above all levels, and nobody can remove them.
        let users = room.levels(json!({ BOB: 100 }));
        room.send(ALICE, "m.room.power_levels", Some(""), users.clone());
        room.send(BOB, "m.room.member", Some(BOB), json!({ "membership": "join" }));
        let tip = room.tip.clone();
        let topic = room.event_at(&tip, CAROL, "m.room.topic", Some(""), json!({}), 2);
        assert_eq!(room.verdict(&topic).is_ok(), number == 12);
        let kick = json!({ "membership": "leave" });
        let kick = room.event_at(&tip, BOB, "m.room.member", Some(CAROL), kick, 3);
        assert_eq!(room.verdict(&kick).is_ok(), number < 12);
    }
}

#[test]
fn the_first_power_levels_are_free() {
    for number in 1..=12 {
        let mut room = TestRoom::empty(number, json!({}));
        room.join(ALICE);
        let tip = room.tip.clone();
        for (content, allowed) in [
            (json!({ "users": { BOB: 1000 } }), true),
            (json!({}), true),
            (json!({ "users": { "bob": 1 } }), false),
            (json!({ "ban": [] }), number < 10),
        ] {
            let event = room.event_at(&tip, ALICE, "m.room.power_levels", Some(""), content, 1);
            assert_eq!(room.verdict(&event).is_ok(), allowed);
        }
    }
}

#[test]
fn floats_count_truncated_before_version_6() {
    for number in 1..=5 {
        let room = TestRoom::public(number);
        let tip = room.tip.clone();
        let json = room.template(&tip, ALICE, "m.room.power_levels", Some(""), json!({}));
        let text = json.to_string().replace(
            "\"content\":{}",
            r#""content":{"ban":5.114698E1,"kick":1e400,"redact":1e300,"users":{"@bob:b.test":50.57}}"#,
        );
        let event = Pdu::from_json(Bytes::from(text), room.version).unwrap();
        let create = room.state_event("m.room.create", "").unwrap();
        let levels = PowerLevels::new(room.version, &create, Some(&event));
        assert_eq!(levels.for_user(user_id!("@bob:b.test")), Level::Int(50));
        assert_eq!(levels.ban(), Level::Int(51));
        assert_eq!(levels.kick(), Level::Int(50), "what no double holds is no level");
        assert_eq!(levels.redact(), Level::Int(i64::MAX));
        assert!(room.verdict(&event).is_err());
    }
}
