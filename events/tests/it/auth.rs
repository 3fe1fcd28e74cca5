//! The authorisation rules as a table: what a room's state is, what happens, and in which versions
//! it may.

mod levels;
mod membership;

use events::{Level, PowerLevels};
use ruma::user_id;
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAVE, TestRoom};

type Entry = (&'static str, &'static str, &'static str, Value);

/// One row: entries of state as (sender, type, state key, content), and an event as (sender, type,
/// state key, content) with the versions that allow it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) state: Vec<Entry>,
    pub(crate) event: (&'static str, &'static str, Option<&'static str>, Value),
    pub(crate) allowed: fn(u8) -> bool,
}

pub(crate) const ALWAYS: fn(u8) -> bool = |_| true;
pub(crate) const NEVER: fn(u8) -> bool = |_| false;

pub(crate) fn member(user: &'static str, membership: &'static str) -> Entry {
    (user, "m.room.member", user, json!({ "membership": membership }))
}

pub(crate) fn join_rule(rule: &'static str) -> Entry {
    (ALICE, "m.room.join_rules", "", json!({ "join_rule": rule }))
}

/// The room of a case: Alice's, with Bob at 50 and joined, Carol at 0 and not in it.
pub(crate) fn room_of(case: &Case, number: u8) -> (TestRoom, std::sync::Arc<events::Pdu>) {
    let mut room = TestRoom::public(number);
    room.join(BOB);
    let levels = room.levels(json!({ BOB: 50 }));
    room.send(ALICE, "m.room.power_levels", Some(""), levels);
    for (sender, event_type, state_key, content) in &case.state {
        let mut content = content.clone();
        let users = content.get_mut("users").and_then(Value::as_object_mut);
        if let (Some(users), true) = (users, number == 12) {
            users.remove(ALICE);
        }
        room.send(sender, event_type, Some(state_key), content);
    }
    let (sender, event_type, state_key, content) = case.event.clone();
    let tip = room.tip.clone();
    let event = room.event_at(&tip, sender, event_type, state_key, content, 5000);
    (room, event)
}

pub(crate) fn run(cases: Vec<Case>) {
    let mut failures = Vec::new();
    for case in &cases {
        for number in 1..=12 {
            let (room, event) = room_of(case, number);
            let verdict = room.verdict(&event);
            if verdict.is_ok() != (case.allowed)(number) {
                failures.push(format!("{} in version {number}: {verdict:?}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn other_events() {
    let text = || json!({ "body": "x" });
    let case = |name, state, event, allowed| Case { name, state, event, allowed };
    let message = |sender| (sender, "m.room.message", None, text());
    run(vec![
        case("message of a member", vec![], message(BOB), ALWAYS),
        case("message of a stranger", vec![], message(CAROL), NEVER),
        case("message of a banned user", vec![member(CAROL, "ban")], message(CAROL), NEVER),
        case("message of an invited user", vec![member(CAROL, "invite")], message(CAROL), NEVER),
        case("state by power", vec![], (BOB, "m.room.topic", Some(""), text()), ALWAYS),
        case(
            "state without power",
            vec![member(CAROL, "join")],
            (CAROL, "m.room.topic", Some(""), text()),
            NEVER,
        ),
        case("own state key", vec![], (BOB, "x", Some(BOB), text()), ALWAYS),
        case("another's state key", vec![], (ALICE, "x", Some(BOB), text()), NEVER),
        case("another's state key, malformed", vec![], (ALICE, "x", Some("@x"), text()), NEVER),
        case(
            "aliases of the own server, without power",
            vec![member(DAVE, "join")],
            (DAVE, "m.room.aliases", Some("b.test"), json!({ "aliases": [] })),
            |n| n < 6,
        ),
        case(
            "aliases of a server from outside the room",
            vec![],
            (CAROL, "m.room.aliases", Some("c.test"), json!({ "aliases": [] })),
            |n| n < 6,
        ),
        case(
            "aliases of another server, by power",
            vec![],
            (ALICE, "m.room.aliases", Some("b.test"), json!({ "aliases": [] })),
            |n| n >= 6,
        ),
        case(
            "aliases without state key",
            vec![],
            (BOB, "m.room.aliases", None, json!({ "aliases": [] })),
            |n| n >= 6,
        ),
        case(
            "a third-party invite by power",
            vec![],
            (BOB, "m.room.third_party_invite", Some("t"), json!({})),
            ALWAYS,
        ),
        case(
            "a third-party invite without power",
            vec![member(CAROL, "join"), (ALICE, "m.room.power_levels", "", json!({ "invite": 1 }))],
            (CAROL, "m.room.third_party_invite", Some("t"), json!({})),
            NEVER,
        ),
        case(
            "malformed content",
            vec![],
            (BOB, "m.room.topic", Some(""), json!({ "topic": [] })),
            ALWAYS,
        ),
    ]);
}

#[test]
fn rooms_closed_to_other_servers() {
    for number in 1..=12 {
        let mut room = TestRoom::empty(number, json!({ "m.federate": false }));
        room.join(ALICE);
        let levels = room.levels(json!({}));
        room.send(ALICE, "m.room.power_levels", Some(""), levels);
        room.send(ALICE, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        let stranger = room.join(BOB);
        assert!(room.verdict(&stranger).is_err());
        let local = room.join("@bob:a.test");
        assert_eq!(room.verdict(&local), Ok(()));
    }
}

#[test]
fn rooms_without_create_event_allow_nothing() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        let event = room.send(ALICE, "m.room.message", None, json!({}));
        room.tip.state.retain(|(event_type, _), _| event_type != "m.room.create");
        assert!(room.verdict(&event).is_err());
    }
}

#[test]
fn the_first_join_is_the_creators() {
    for number in 1..=12 {
        let mut room = TestRoom::empty(number, json!({}));
        let tip = room.tip.clone();
        let join = json!({ "membership": "join" });
        let bobs = room.event_at(&tip, BOB, "m.room.member", Some(BOB), join.clone(), 1);
        assert!(room.verdict(&bobs).is_err());
        let alices = room.event_at(&tip, ALICE, "m.room.member", Some(ALICE), join.clone(), 1);
        assert_eq!(room.verdict(&alices), Ok(()));
        // Only as the second event of the room: once there is history, the join rules count.
        room.send(ALICE, "m.room.message", None, json!({}));
        let tip = room.tip.clone();
        let later = room.event_at(&tip, ALICE, "m.room.member", Some(ALICE), join, 2);
        assert!(room.verdict(&later).is_err());
    }
}

#[test]
fn redactions_in_versions_1_and_2_are_by_power_or_by_server() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        room.join(DAVE);
        let tip = room.tip.clone();
        for (target, same_server) in [("$x:b.test", true), ("$x:a.test", false), ("$x", false)] {
            let content = json!({ "redacts": target });
            let mut json = room.template(&tip, DAVE, "m.room.redaction", None, content);
            json["redacts"] = json!(target);
            let event = room.add(&json);
            assert_eq!(room.verdict(&event).is_ok(), number > 2 || same_server);
        }
        let mut json = room.template(&tip, ALICE, "m.room.redaction", None, json!({}));
        json["redacts"] = json!("$x:b.test");
        let event = room.add(&json);
        assert_eq!(room.verdict(&event), Ok(()));
    }
}

#[test]
fn levels_in_force() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        let create = room.state_event("m.room.create", "").unwrap();
        let (alice, bob, carol) =
            (user_id!("@alice:a.test"), user_id!("@bob:b.test"), user_id!("@carol:c.test"));

        let none = PowerLevels::new(room.version, &create, None);
        let creators = if number == 12 { Level::Infinite } else { Level::Int(100) };
        assert_eq!(none.for_user(alice), creators);
        assert_eq!(none.for_user(bob), Level::Int(0));
        assert_eq!(none.for_event("m.room.topic", true), Level::Int(50));
        assert_eq!(none.for_event("m.room.message", false), Level::Int(0));
        assert_eq!(none.invite(), Level::Int(0));
        for level in [none.ban(), none.kick(), none.redact(), none.notification("room")] {
            assert_eq!(level, Level::Int(50));
        }

        let mut content = room.levels(json!({ BOB: 50 }));
        let more = json!({
            "users_default": 5, "events_default": 6, "state_default": 7, "ban": 1, "kick": 2,
            "redact": 60, "invite": 4, "events": { "m.room.topic": 8 },
            "notifications": { "room": 9 },
        });
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let event = room.send(ALICE, "m.room.power_levels", Some(""), content);
        let levels = PowerLevels::new(room.version, &create, Some(&event));
        assert_eq!(levels.for_user(alice), creators);
        assert_eq!(levels.for_user(bob), Level::Int(50));
        assert_eq!(levels.for_user(carol), Level::Int(5));
        assert_eq!(levels.for_event("m.room.topic", true), Level::Int(8));
        assert_eq!(levels.for_event("m.room.name", true), Level::Int(7));
        assert_eq!(levels.for_event("m.room.message", false), Level::Int(6));
        assert_eq!((levels.ban(), levels.kick()), (Level::Int(1), Level::Int(2)));
        assert_eq!((levels.redact(), levels.invite()), (Level::Int(60), Level::Int(4)));
        assert_eq!(levels.notification("room"), Level::Int(9));
        assert!(levels.can_send(bob, "m.room.topic", true));
        assert!(!levels.can_send(carol, "m.room.message", false));
        assert!(levels.can_redact(alice, bob));
        assert!(!levels.can_redact(bob, alice));
        assert!(levels.can_redact(bob, user_id!("@dave:b.test")));
    }
}
