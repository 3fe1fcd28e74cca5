//! ruma implements the same rules from version 2 on: the two must agree on random histories.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use events::{Partial, Pdu, StateKey, StateMap, auth_events_for, resolve_part};
use proptest::prelude::*;
use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    state_res::{self, utils::event_id_set::EventIdSet},
};
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAVE, TestRoom, Tip};

const USERS: [&str; 4] = [ALICE, BOB, CAROL, DAVE];
const RULES: [&str; 5] = ["public", "invite", "knock", "restricted", "knock_restricted"];
const MEMBERSHIPS: [&str; 5] = ["join", "invite", "leave", "ban", "knock"];

/// Something that a user tries on one of the forks.
#[derive(Clone, Debug)]
enum Action {
    Membership {
        target: usize,
        membership: usize,
        via: Option<usize>,
    },
    JoinRule(usize),
    Levels {
        user: usize,
        level: i64,
        field: usize,
        value: i64,
    },
    Topic,
    OwnState,
    /// Goes on from here twice.
    Fork,
    /// Forgets what became of one key since the start, as a server with outdated state does.
    Forget(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let user = 0..USERS.len();
    prop_oneof![
        5 => (user.clone(), 0..MEMBERSHIPS.len(), prop::option::of(user.clone()))
            .prop_map(|(target, membership, via)| Action::Membership { target, membership, via }),
        3 => Just(Action::Membership { target: 9, membership: 0, via: None }),
        1 => (0..RULES.len()).prop_map(Action::JoinRule),
        3 => (user, -10..120_i64, 0..8_usize, -10..120_i64)
            .prop_map(|(user, level, field, value)| Action::Levels { user, level, field, value }),
        1 => Just(Action::Topic),
        1 => Just(Action::OwnState),
        1 => Just(Action::Fork),
        1 => (0..8_usize).prop_map(Action::Forget),
    ]
}

type Step = (usize, usize, Action);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..4_usize, 0..USERS.len(), action()), 1..60)
}

/// Of a step: event type, state key, content.
fn content_of(
    room: &TestRoom,
    tip: &Tip,
    sender: &str,
    action: &Action,
) -> (&'static str, String, Value) {
    match action {
        Action::Membership { target, membership, via } => {
            let target = USERS.get(*target).copied().unwrap_or(sender);
            let mut content = json!({ "membership": MEMBERSHIPS[*membership] });
            if let Some(via) = via {
                content["join_authorised_via_users_server"] = json!(USERS[*via]);
            }
            ("m.room.member", target.to_owned(), content)
        }
        Action::JoinRule(rule) => {
            ("m.room.join_rules", String::new(), json!({ "join_rule": RULES[*rule] }))
        }
        Action::Levels { user, level, field, value } => {
            let current = tip.id("m.room.power_levels", "").and_then(|id| room.get(id));
            let mut content: Value =
                current.map_or_else(|| room.levels(json!({})), |event| event.content_as().unwrap());
            content["users"][USERS[*user]] = json!(level);
            let fields = [
                "ban",
                "kick",
                "invite",
                "redact",
                "state_default",
                "events_default",
                "users_default",
            ];
            match fields.get(*field) {
                Some(field) => content[*field] = json!(value),
                None => content["events"] = json!({ "m.room.topic": value }),
            }
            ("m.room.power_levels", String::new(), content)
        }
        Action::Topic => ("m.room.topic", String::new(), json!({ "topic": "x" })),
        Action::OwnState | Action::Fork | Action::Forget(_) => ("x", sender.to_owned(), json!({})),
    }
}

/// The forks that come of trying the steps, with both implementations' verdicts compared.
fn run(room: &mut TestRoom, steps: &[Step]) -> Vec<Tip> {
    let start = room.tip.clone();
    let mut forks = vec![start.clone(), start.clone()];
    for (fork, sender, action) in steps {
        let index = fork % forks.len();
        match action {
            Action::Fork if forks.len() < 4 => forks.push(forks[index].clone()),
            Action::Fork => (),
            Action::Forget(key) => {
                let keys: Vec<_> =
                    start.state.keys().filter(|key| key.0 != "m.room.create").collect();
                let key = keys[key % keys.len()];
                forks[index].state.insert(key.clone(), start.state[key].clone());
            }
            _ => try_step(room, &mut forks[index], USERS[*sender], action),
        }
    }
    forks
}

fn try_step(room: &mut TestRoom, tip: &mut Tip, sender: &str, action: &Action) {
    let (event_type, state_key, content) = content_of(room, tip, sender, action);
    let mut trial = tip.clone();
    let event = room.send_at(&mut trial, sender, event_type, Some(&state_key), content);
    let state = |event_type: &str, key: &str| room.get(tip.id(event_type, key)?);
    let ours = events::check_auth(room.version, &event, state);
    let theirs = state_res::check_state_dependent_auth_rules(
        &room.version.rules().authorization,
        &event,
        |event_type, key| state(&event_type.to_string(), key),
    );
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{event:?}\nours: {ours:?}\ntheirs: {theirs:?}");
    let independent = events::check_state_independent(room.version, &event, |id| room.get(id));
    let theirs = state_res::check_state_independent_auth_rules(
        &room.version.rules().authorization,
        &event,
        |id| room.get(id),
    );
    assert_eq!(independent.is_ok(), theirs.is_ok(), "{event:?}\n{independent:?}\n{theirs:?}");
    if ours.is_ok() && independent.is_ok() {
        *tip = trial;
    }
}

fn auth_chain(room: &TestRoom, ids: impl Iterator<Item = OwnedEventId>) -> BTreeSet<OwnedEventId> {
    let mut chain = BTreeSet::new();
    let mut pending: Vec<OwnedEventId> = ids.collect();
    while let Some(id) = pending.pop() {
        for auth in room.get(&id).unwrap().auth_events() {
            if chain.insert(auth.clone()) {
                pending.push(auth.clone());
            }
        }
    }
    chain
}

/// By definition: what has a conflicted event in its auth chain and is in the auth chain of one,
/// ends included.
fn subgraph(room: &TestRoom, conflicted: &BTreeSet<OwnedEventId>) -> EventIdSet<OwnedEventId> {
    let reachable = auth_chain(room, conflicted.iter().cloned());
    reachable
        .union(conflicted)
        .filter(|id| {
            let chain = auth_chain(room, std::iter::once((*id).clone()));
            conflicted.contains(*id) || !chain.is_disjoint(conflicted)
        })
        .cloned()
        .collect()
}

fn rumas_resolution(room: &TestRoom, sets: &[StateMap]) -> StateMap {
    type TheirMap = HashMap<(StateEventType, String), OwnedEventId>;
    let maps: Vec<TheirMap> = sets
        .iter()
        .map(|set| {
            set.iter().map(|((t, k), id)| ((t.as_str().into(), k.clone()), id.clone())).collect()
        })
        .collect();
    let chains = sets
        .iter()
        .map(|set| auth_chain(room, set.values().cloned()).into_iter().collect())
        .collect();
    let rules = room.version.rules();
    let resolved = state_res::resolve(
        &rules.authorization,
        rules.state_res.v2_rules().unwrap(),
        &maps,
        chains,
        |id: &EventId| -> Option<Arc<Pdu>> { room.get(id) },
        |conflicted| {
            let conflicted = conflicted.values().flatten().cloned().collect();
            Some(subgraph(room, &conflicted))
        },
    );
    let resolved = resolved.unwrap().into_iter();
    resolved.map(|((event_type, key), id)| ((event_type.to_string(), key), id)).collect()
}

/// The resolution of what differs alone, as one does it who does not want to look at the whole room.
fn resolution_by_part(room: &TestRoom, sets: &[StateMap]) -> StateMap {
    let keys: BTreeSet<StateKey> = sets.iter().flat_map(|set| set.keys().cloned()).collect();
    let (agreed, in_conflict): (BTreeSet<StateKey>, BTreeSet<StateKey>) =
        keys.into_iter().partition(|key| sets.iter().all(|set| set.get(key) == sets[0].get(key)));
    let ids = |keys: &BTreeSet<StateKey>| -> Vec<OwnedEventId> {
        sets.iter().flat_map(|set| keys.iter().filter_map(|key| set.get(key).cloned())).collect()
    };
    let mut wanted = in_conflict.clone();
    let known =
        auth_chain(room, ids(&in_conflict).into_iter()).into_iter().chain(ids(&in_conflict));
    for pdu in known.filter(|_| !room.version.room_id_is_create_hash()) {
        let pdu = room.get(&pdu).unwrap();
        let (sender, key) = (pdu.sender(), pdu.state_key());
        let keys = auth_events_for(room.version, pdu.event_type(), sender, key, pdu.content());
        wanted.extend(keys.into_iter().flatten());
    }
    let cut = sets.iter().map(|set| {
        set.iter().filter(|(key, _)| wanted.contains(*key)).map(|(k, v)| (k.clone(), v.clone()))
    });
    let cut: Vec<StateMap> = cut.map(Iterator::collect).collect();
    let part = resolve_part(room.version, &cut, None, |id| room.get(id)).unwrap();
    let part = match part {
        Partial::Resolved(_) => part,
        Partial::Ask(asked) => {
            let chains = auth_chain(room, ids(&agreed).into_iter());
            let reached = asked.into_iter().filter(|id| chains.contains(id)).collect();
            resolve_part(room.version, &cut, Some(&reached), |id| room.get(id)).unwrap()
        }
    };
    let Partial::Resolved(mut part) = part else { panic!("asked twice") };
    part.retain(|key, _| in_conflict.contains(key));
    part.extend(
        sets[0]
            .iter()
            .filter(|(key, _)| agreed.contains(*key))
            .map(|(k, v)| (k.clone(), v.clone())),
    );
    part
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_and_resolutions_agree(number in prop_oneof![2..=12_u8, Just(12)], steps in steps()) {
        let mut room = TestRoom::public(number);
        let forks = run(&mut room, &steps);
        let mut sets: Vec<StateMap> = forks.into_iter().map(|tip| tip.state).collect();
        let ours = room.resolve(&sets).unwrap();
        prop_assert_eq!(&ours, &rumas_resolution(&room, &sets));
        prop_assert_eq!(&ours, &resolution_by_part(&room, &sets));
        sets.reverse();
        prop_assert_eq!(&ours, &room.resolve(&sets).unwrap());
        sets.rotate_left(1);
        sets.push(sets[0].clone());
        prop_assert_eq!(&ours, &room.resolve(&sets).unwrap());
    }

    #[test]
    fn verdicts_agree_in_version_1_and_order_does_not_matter(steps in steps()) {
        let mut room = TestRoom::public(1);
        let forks = run(&mut room, &steps);
        let mut sets: Vec<StateMap> = forks.into_iter().map(|tip| tip.state).collect();
        let ours = room.resolve(&sets).unwrap();
        prop_assert_eq!(&ours, &resolution_by_part(&room, &sets));
        sets.reverse();
        prop_assert_eq!(ours, room.resolve(&sets).unwrap());
    }
}
