//! State resolution: hand-made forks, the two state resets that version 2.1 mends, and what cannot
//! be resolved.

use events::{ResolveError, StateMap};
use ruma::OwnedEventId;
use serde_json::json;

use crate::room::{ALICE, BOB, CAROL, DAVE, TestRoom, Tip};

fn id<'a>(state: &'a StateMap, event_type: &str, key: &str) -> Option<&'a OwnedEventId> {
    state.get(&(event_type.to_owned(), key.to_owned()))
}

fn replaced(state: &StateMap, event_type: &str, id: &OwnedEventId) -> StateMap {
    let mut state = state.clone();
    state.insert((event_type.to_owned(), String::new()), id.clone());
    state
}

#[test]
fn states_without_conflict_are_their_union() {
    for number in 1..=12 {
        let room = TestRoom::public(number);
        let state = room.tip.state.clone();
        assert_eq!(room.resolve(&[]), Ok(StateMap::new()));
        assert_eq!(room.resolve(std::slice::from_ref(&state)).as_ref(), Ok(&state));
        assert_eq!(room.resolve(&[state.clone(), state.clone()]), Ok(state));
    }
}

#[test]
fn state_that_one_side_has_not_seen_stays() {
    for number in 1..=12 {
        let mut room = TestRoom::public(number);
        let before = room.tip.state.clone();
        let topic = room.send(ALICE, "m.room.topic", Some(""), json!({ "topic": "x" }));
        room.join(BOB);
        let after = room.tip.state.clone();
        assert_eq!(id(&after, "m.room.topic", ""), Some(topic.event_id()));
        assert_eq!(room.resolve(&[before.clone(), after.clone()]).as_ref(), Ok(&after));
        assert_eq!(room.resolve(&[after.clone(), before]), Ok(after));
    }
}

#[test]
fn the_later_of_two_topics_wins() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        let mut left = room.tip.clone();
        let mut right = room.tip.clone();
        room.send_at(&mut left, ALICE, "m.room.topic", Some(""), json!({ "topic": "first" }));
        let later =
            room.send_at(&mut right, ALICE, "m.room.topic", Some(""), json!({ "topic": "later" }));
        let resolved = room.resolve(&[right.state, left.state]).unwrap();
        assert_eq!(id(&resolved, "m.room.topic", ""), Some(later.event_id()));
    }
}

#[test]
fn a_ban_beats_what_the_banned_did_meanwhile() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        room.join(BOB);
        let levels = room.levels(json!({ BOB: 50 }));
        room.send(ALICE, "m.room.power_levels", Some(""), levels);
        let topic = room.send(ALICE, "m.room.topic", Some(""), json!({ "topic": "old" }));
        let mut left = room.tip.clone();
        let mut right = room.tip.clone();
        let ban = json!({ "membership": "ban" });
        let ban = room.send_at(&mut left, ALICE, "m.room.member", Some(BOB), ban);
        room.send_at(&mut right, BOB, "m.room.topic", Some(""), json!({ "topic": "new" }));
        room.send_at(
            &mut right,
            BOB,
            "m.room.join_rules",
            Some(""),
            json!({ "join_rule": "invite" }),
        );
        let resolved = room.resolve(&[left.state.clone(), right.state]).unwrap();
        assert_eq!(id(&resolved, "m.room.member", BOB), Some(ban.event_id()));
        assert_eq!(id(&resolved, "m.room.topic", ""), Some(topic.event_id()));
        assert_eq!(
            id(&resolved, "m.room.join_rules", ""),
            id(&left.state, "m.room.join_rules", "")
        );
    }
}

/// MSC4297, problem A: one side has outdated join rules, and their author has left. Replayed on the
/// unconflicted state, in which she is gone, neither join rules pass.
#[test]
fn problem_a_conflicting_events_unauthorised_by_the_unconflicted_state() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        let outdated = room.tip.id("m.room.join_rules", "").unwrap().clone();
        room.join(BOB);
        let invite_only = json!({ "join_rule": "invite" });
        let current = room.send(ALICE, "m.room.join_rules", Some(""), invite_only);
        room.send(ALICE, "m.room.member", Some(ALICE), json!({ "membership": "leave" }));
        let right = room.tip.state.clone();
        let stale = replaced(&right, "m.room.join_rules", &outdated);
        let resolved = room.resolve(&[right, stale]).unwrap();
        let expected = (number == 12).then_some(current.event_id());
        assert_eq!(id(&resolved, "m.room.join_rules", ""), expected, "version {number}");
    }
}

/// MSC4297, problem B: one side has outdated power levels, and the step between them and the
/// current ones is in no difference of auth chains.
#[test]
fn problem_b_conflicting_events_need_unconflicted_events_between_them() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        let outdated = room.tip.id("m.room.power_levels", "").unwrap().clone();
        room.join(BOB);
        room.join(CAROL);
        let levels = room.levels(json!({ BOB: 100 }));
        room.send(ALICE, "m.room.power_levels", Some(""), levels);
        let levels = room.levels(json!({ BOB: 100, CAROL: 50 }));
        let current = room.send(BOB, "m.room.power_levels", Some(""), levels);
        room.join(DAVE);
        let right = room.tip.state.clone();
        let stale = replaced(&right, "m.room.power_levels", &outdated);
        let resolved = room.resolve(&[stale, right]).unwrap();
        let expected = if number == 12 { current.event_id() } else { &outdated };
        assert_eq!(id(&resolved, "m.room.power_levels", ""), Some(expected), "version {number}");
    }
}

#[test]
fn the_creator_of_version_12_outranks_all() {
    // Bob, at 100, and Alice change the levels at once. Her event comes first in the order, so his
    // is checked against hers, in which he is nobody.
    let mut room = TestRoom::public(12);
    room.join(BOB);
    room.send(ALICE, "m.room.power_levels", Some(""), json!({ "users": { BOB: 100 } }));
    let (mut left, mut right) = (room.tip.clone(), room.tip.clone());
    room.send_at(
        &mut left,
        BOB,
        "m.room.power_levels",
        Some(""),
        json!({ "users": { BOB: 100, CAROL: 100 } }),
    );
    let alices =
        room.send_at(&mut right, ALICE, "m.room.power_levels", Some(""), json!({ "users": {} }));
    let resolved = room.resolve(&[left.state, right.state]).unwrap();
    assert_eq!(id(&resolved, "m.room.power_levels", ""), Some(alices.event_id()));
}

#[test]
fn a_rejected_auth_event_authorises_nothing() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        let (mut left, mut right) = (room.tip.clone(), room.tip.clone());
        let join = json!({ "membership": "join" });
        let joined = room.send_at(&mut left, BOB, "m.room.member", Some(BOB), join);
        let state = room.send_at(&mut left, BOB, "x", Some(BOB), json!({}));
        let levels = json!({ "state_default": 0 });
        room.send_at(&mut left, ALICE, "m.room.power_levels", Some(""), levels.clone());
        room.send_at(&mut right, ALICE, "m.room.power_levels", Some(""), levels);
        left.state.remove(&("m.room.member".to_owned(), BOB.to_owned()));
        let resolve = |rejected: bool| {
            let sets = [left.state.clone(), right.state.clone()];
            events::resolve(room.version, &sets, |id| {
                let event = room.get(id)?;
                let reject = rejected && id == joined.event_id();
                Some(if reject { (*event).clone().into_rejected().into() } else { event })
            })
        };
        assert_eq!(id(&resolve(false).unwrap(), "x", BOB), Some(state.event_id()));
        assert_eq!(id(&resolve(true).unwrap(), "x", BOB), None);
    }
}

#[test]
fn a_missing_event_is_named() {
    for number in 2..=12 {
        let mut room = TestRoom::public(number);
        room.join(BOB);
        let (mut left, mut right) = (room.tip.clone(), room.tip.clone());
        room.send_at(&mut left, ALICE, "m.room.topic", Some(""), json!({ "topic": "1" }));
        room.send_at(&mut right, ALICE, "m.room.topic", Some(""), json!({ "topic": "2" }));
        let sets = [left.state, right.state];
        assert!(room.resolve(&sets).is_ok());
        let lost = [
            id(&sets[0], "m.room.topic", ""),
            id(&sets[1], "m.room.power_levels", ""),
            id(&sets[0], "m.room.member", ALICE),
            id(&sets[0], "m.room.create", ""),
        ];
        for lost in lost.map(|id| id.unwrap().clone()) {
            let resolved = events::resolve(room.version, &sets, |id| {
                if id == &*lost { None } else { room.get(id) }
            });
            assert_eq!(resolved, Err(ResolveError::MissingEvent(lost)));
        }
    }
}

#[test]
fn events_that_authorise_each_other_are_found_out() {
    let mut room = TestRoom::public(2);
    let tip = room.tip.clone();
    let mut cycle = |event_id: &str, cites: &str| {
        let levels = json!({ "users": { ALICE: 100 } });
        let mut json = room.template(&tip, ALICE, "m.room.power_levels", Some(""), levels);
        json["event_id"] = json!(event_id);
        json["auth_events"] = json!([[cites, {}]]);
        room.add(&json).event_id().clone()
    };
    let one = cycle("$one:a.test", "$two:a.test");
    let two = cycle("$two:a.test", "$one:a.test");
    let sets = [
        replaced(&tip.state, "m.room.power_levels", &one),
        replaced(&tip.state, "m.room.power_levels", &two),
    ];
    assert!(matches!(room.resolve(&sets), Err(ResolveError::AuthCycle(_))));
}

/// An event of a version 1 room, whose senders choose `depth` at will.
fn send(
    room: &mut TestRoom,
    tip: &Tip,
    sender: &str,
    key: (&str, &str),
    content: serde_json::Value,
    depth: u64,
) -> OwnedEventId {
    let mut json = room.template(tip, sender, key.0, Some(key.1), content);
    json["depth"] = json!(depth);
    room.add(&json).event_id().clone()
}

#[test]
fn version_1_picks_other_events_by_depth() {
    let mut room = TestRoom::public(1);
    let tip = room.tip.clone();
    let topic = ("m.room.topic", "");
    let deep = send(&mut room, &tip, ALICE, topic, json!({}), 20);
    let shallow = send(&mut room, &tip, ALICE, topic, json!({}), 10);
    let not_allowed = send(&mut room, &tip, BOB, topic, json!({}), 30);
    let sets = [&deep, &shallow, &not_allowed].map(|id| replaced(&tip.state, topic.0, id));
    let resolved = room.resolve(&sets).unwrap();
    assert_eq!(id(&resolved, topic.0, ""), Some(&deep));
    assert_eq!(room.resolve(&[sets[2].clone(), sets[1].clone(), sets[0].clone()]), Ok(resolved));
}

#[test]
fn version_1_picks_the_lowest_hash_at_equal_depth() {
    let mut room = TestRoom::public(1);
    let tip = room.tip.clone();
    let mut event = || send(&mut room, &tip, ALICE, ("m.room.topic", ""), json!({}), 5);
    let ids: Vec<OwnedEventId> = (0..8).map(|_| event()).collect();
    let sets: Vec<_> = ids.iter().map(|id| replaced(&tip.state, "m.room.topic", id)).collect();
    let resolved = room.resolve(&sets).unwrap();
    // Computed elsewhere, of `$event4:a.test` to `$event11:a.test`.
    assert_eq!(id(&resolved, "m.room.topic", "").unwrap(), "$event9:a.test");
}

#[test]
fn version_1_builds_up_power_levels_and_stops_at_what_they_forbid() {
    let mut room = TestRoom::public(1);
    room.join(BOB);
    let tip = room.tip.clone();
    let key = ("m.room.power_levels", "");
    let first = send(&mut room, &tip, ALICE, key, json!({ "users": { ALICE: 100, BOB: 60 } }), 10);
    let second = send(&mut room, &tip, BOB, key, json!({ "users": { ALICE: 100, BOB: 55 } }), 11);
    let forbidden = send(&mut room, &tip, BOB, key, json!({ "users": { BOB: 100 } }), 12);
    let never_reached = send(&mut room, &tip, ALICE, key, json!({ "users": { ALICE: 100 } }), 13);
    let all = [&first, &second, &forbidden, &never_reached];
    let resolved = room.resolve(&all.map(|id| replaced(&tip.state, key.0, id))).unwrap();
    assert_eq!(id(&resolved, key.0, ""), Some(&second));
}

#[test]
fn version_1_forgets_whom_the_levels_do_not_admit() {
    let mut room = TestRoom::public(1);
    room.join(BOB);
    let tip = room.tip.clone();
    let ban =
        send(&mut room, &tip, ALICE, ("m.room.member", BOB), json!({ "membership": "ban" }), 10);
    let join =
        send(&mut room, &tip, BOB, ("m.room.member", BOB), json!({ "membership": "join" }), 11);
    let with = |id: &OwnedEventId| {
        let mut state = tip.state.clone();
        state.insert(("m.room.member".to_owned(), BOB.to_owned()), id.clone());
        state
    };
    let resolved = room.resolve(&[with(&join), with(&ban)]).unwrap();
    assert_eq!(id(&resolved, "m.room.member", BOB), Some(&ban));
}
