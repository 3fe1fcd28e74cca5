//! Versions 2 and 2.1 of state resolution. Words in quotes are the specification's.

mod auth_checks;
mod order;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use self::auth_checks::AuthChecks;
use super::{Conflicts, Events, Partial, ResolveError, Rest, StateMap, graph::AuthGraph};
use crate::{
    Pdu, RoomVersion, auth::Membership, pdu::room_create_event_id, room_version::Resolution,
};

/// What is to be resolved.
pub(super) struct Sets<'a> {
    pub(super) all: &'a [StateMap],
    pub(super) conflicts: &'a Conflicts<'a>,
    pub(super) rest: Rest<'a>,
}

pub(super) fn resolve<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    version: &RoomVersion,
    sets: &Sets<'_>,
    unconflicted: StateMap,
    events: &Events<F>,
) -> Result<Partial, ResolveError> {
    let conflicts = sets.conflicts;
    let graph = AuthGraph::load(conflicts.values().flatten().copied(), events)?;
    // Also what keeps the walks below from going round in circles.
    let oldest_first = graph.oldest_first()?;
    let conflicted: BTreeSet<usize> =
        conflicts.values().flatten().filter_map(|id| graph.find(id)).collect();

    // What is in conflict belongs to the full conflicted set in any case.
    let mut full = auth_difference(&graph, sets);
    full.retain(|node| !conflicted.contains(node));
    take_out_reached(&mut full, &graph, &unconflicted, events)?;
    match sets.rest {
        Rest::Nothing => {}
        Rest::Unknown if full.is_empty() => {}
        Rest::Unknown => {
            let ids = full.iter().map(|&node| graph.node(node).event.event_id().clone());
            return Ok(Partial::Ask(ids.collect()));
        }
        Rest::Reaches(ids) => full.retain(|&node| !ids.contains(graph.node(node).event.event_id())),
    }
    let from_empty = version.resolution() == Resolution::V2_1;
    if from_empty {
        full.extend(conflicted_subgraph(&graph, &oldest_first, &conflicted));
    }
    full.extend(conflicted);
    full.retain(|&node| graph.node(node).event.is_state());

    let base = if from_empty { None } else { Some(&unconflicted) };
    let create = room_create(version, &graph, events)?;
    let create = create.as_deref();
    let power_events = power_events_and_chains(&graph, &full);
    let mut checks = AuthChecks::new(version, &graph, events, create, base);
    for node in order::by_power(version, &graph, create, &power_events) {
        checks.apply(node)?;
    }
    let remaining = full.difference(&power_events).copied();
    let power_levels = checks.in_force("m.room.power_levels", "").cloned();
    for node in order::by_mainline(&graph, remaining, power_levels, events)? {
        checks.apply(node)?;
    }
    let mut resolved = checks.into_resolved();
    resolved.extend(unconflicted);
    Ok(Partial::Resolved(resolved))
}

/// "Calculating the full auth chain for each state Si, that is the union of the auth chains for
/// each event in Si, and then taking every event that doesn't appear in every auth chain."
///
/// Unconflicted events have the same auth chains in every Si, so they can only take events out of
/// the difference; that comes next.
fn auth_difference(graph: &AuthGraph, sets: &Sets<'_>) -> BTreeSet<usize> {
    let mut appearances = vec![0; graph.len()];
    for state in sets.all {
        let own = sets.conflicts.keys().filter_map(|key| graph.find(state.get(*key)?));
        for node in graph.auth_chain(own) {
            appearances[node] += 1;
        }
    }
    let count = sets.all.len();
    (0..graph.len()).filter(|&node| (1..count).contains(&appearances[node])).collect()
}

/// Takes out what is in the auth chain of an unconflicted event; the chains are walked as long as
/// there is something left to take out.
fn take_out_reached<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    difference: &mut BTreeSet<usize>,
    graph: &AuthGraph,
    unconflicted: &StateMap,
    events: &Events<F>,
) -> Result<(), ResolveError> {
    let mut walked: HashSet<OwnedEventId> = HashSet::new();
    let mut pending: Vec<OwnedEventId> = unconflicted.values().cloned().collect();
    while let (Some(id), false) = (pending.pop(), difference.is_empty()) {
        for auth in events.get(&id)?.auth_events() {
            if walked.insert(auth.clone()) {
                graph.find(auth).map(|node| difference.remove(&node));
                pending.push(auth.clone());
            }
        }
    }
    Ok(())
}

/// The events on the paths, along auth events, between two events of the conflicted state set,
/// ends included. `depth` plays no part: its sender can forge it.
fn conflicted_subgraph(
    graph: &AuthGraph,
    oldest_first: &[usize],
    conflicted: &BTreeSet<usize>,
) -> BTreeSet<usize> {
    // All events of the graph can be reached from a conflicted one; what remains to ask is which
    // of them reach one.
    let mut reaches = vec![false; graph.len()];
    for &node in oldest_first {
        reaches[node] =
            conflicted.contains(&node) || graph.node(node).auth.iter().any(|&auth| reaches[auth]);
    }
    (0..graph.len()).filter(|&node| reaches[node]).collect()
}

/// "The set X of all power events that appear in the full conflicted set. For each such power event
/// P, enlarge X by adding the events from P's auth chain which also belong to the full conflicted
/// set", walking within that set, as deployed servers do.
fn power_events_and_chains(graph: &AuthGraph, full: &BTreeSet<usize>) -> BTreeSet<usize> {
    let is_power_event = |node: &usize| is_power_event(&graph.node(*node).event);
    let mut pending: Vec<usize> = full.iter().copied().filter(is_power_event).collect();
    let mut selected = BTreeSet::new();
    while let Some(node) = pending.pop() {
        if selected.insert(node) {
            pending.extend(graph.node(node).auth.iter().filter(|auth| full.contains(auth)));
        }
    }
    selected
}

/// "A state event with type `m.room.power_levels` or `m.room.join_rules`, or a state event with
/// type `m.room.member` where the `membership` is `leave` or `ban` and the `sender` does not match
/// the `state_key`." Deployed servers count `m.room.create` too.
fn is_power_event(event: &Pdu) -> bool {
    match event.event_type() {
        "m.room.create" | "m.room.power_levels" | "m.room.join_rules" => {
            event.state_key() == Some("")
        }
        "m.room.member" => {
            event.state_key() != Some(event.sender().as_str())
                && matches!(Membership::of(event), Some(Membership::Leave | Membership::Ban))
        }
        _ => false,
    }
}

/// The room's create event: in version 12 implied by the room id, before that in auth chains.
fn room_create<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    version: &RoomVersion,
    graph: &AuthGraph,
    events: &Events<F>,
) -> Result<Option<Arc<Pdu>>, ResolveError> {
    let mut all = (0..graph.len()).map(|node| &graph.node(node).event);
    if !version.room_id_is_create_hash() {
        return Ok(all.find(|event| event.is_state_of("m.room.create", "")).cloned());
    }
    let id = all.next().and_then(|event| room_create_event_id(event.room_id()));
    id.map(|id| events.get(&id)).transpose()
}
