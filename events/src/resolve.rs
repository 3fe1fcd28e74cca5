//! State resolution: one state out of several, versions 1, 2 and 2.1.
//!
//! Nothing is dropped in silence: an event that a step needs and that is not handed in fails the
//! resolution, since a state computed without it could be any state.

mod graph;
mod v1;
mod v2;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use crate::{Pdu, RoomVersion, room_version::Resolution};

/// Event type and state key.
pub type StateKey = (String, String);
/// The event in force for each key.
pub type StateMap = BTreeMap<StateKey, OwnedEventId>;

/// Why states cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("event {0} is not known")]
    MissingEvent(OwnedEventId),
    /// Possible in versions 1 and 2 only, where senders choose event ids.
    #[error("event {0} is in its own auth chain")]
    AuthCycle(OwnedEventId),
}

/// The values that sets disagree about, by key.
type Conflicts<'a> = BTreeMap<&'a StateKey, Vec<&'a OwnedEventId>>;

/// Resolves `state_sets` to one state.
///
/// `events` must know every event of the sets and of their auth chains, and in version 12 the
/// room's create event; each with its [`Pdu::rejected`] mark.
pub fn resolve(
    version: &RoomVersion,
    state_sets: &[StateMap],
    events: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<StateMap, ResolveError> {
    match resolve_with(version, state_sets, Rest::Nothing, events)? {
        Partial::Resolved(state) => Ok(state),
        Partial::Ask(ids) => unreachable!("there is no rest to ask about {ids:?}"),
    }
}

/// Resolves the entries that states do not agree about, so that the cost follows those and not the
/// size of the room.
///
/// `state_sets` are the states cut down to the keys that they disagree about and, before version 12,
/// the keys of the state events that authorise (see [`crate::auth_events_for`]) what is in conflict
/// and what is in the auth chains of that. What is left out must be the same in all of them.
///
/// `reached` is `None` at first. If [`Partial::Ask`] is the answer, the same is asked again with
/// those of its ids that are in the auth chain of any event that was left out.
pub fn resolve_part(
    version: &RoomVersion,
    state_sets: &[StateMap],
    reached: Option<&HashSet<OwnedEventId>>,
    events: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<Partial, ResolveError> {
    let rest = reached.map_or(Rest::Unknown, Rest::Reaches);
    resolve_with(version, state_sets, rest, events)
}

/// What came of [`resolve_part`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partial {
    /// The state, as far as the sets went.
    Resolved(StateMap),
    /// Are these in the auth chains of what was left out?
    Ask(Vec<OwnedEventId>),
}

/// The unconflicted entries that are not among those handed in.
#[derive(Clone, Copy)]
enum Rest<'a> {
    Nothing,
    Unknown,
    /// Of what was asked about, their auth chains have these.
    Reaches(&'a HashSet<OwnedEventId>),
}

fn resolve_with(
    version: &RoomVersion,
    state_sets: &[StateMap],
    rest: Rest<'_>,
    events: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<Partial, ResolveError> {
    let resolution = version.resolution();
    let (unconflicted, conflicts) = split(state_sets, resolution);
    if conflicts.is_empty() {
        return Ok(Partial::Resolved(unconflicted));
    }
    let events = Events(events);
    match resolution {
        Resolution::V1 => {
            v1::resolve(version, unconflicted, conflicts, &events).map(Partial::Resolved)
        }
        Resolution::V2 | Resolution::V2_1 => {
            let sets = v2::Sets { all: state_sets, conflicts: &conflicts, rest };
            v2::resolve(version, &sets, unconflicted, &events)
        }
    }
}

/// "If a given key K is present in every Si with the same value V in each state map, then the pair
/// (K, V) belongs to the unconflicted state map. Otherwise, V belongs to the conflicted state set."
///
/// In version 1 a key that some states lack is no conflict.
fn split(state_sets: &[StateMap], resolution: Resolution) -> (StateMap, Conflicts<'_>) {
    let mut values: BTreeMap<&StateKey, (Vec<&OwnedEventId>, usize)> = BTreeMap::new();
    for (key, id) in state_sets.iter().flatten() {
        let (ids, count) = values.entry(key).or_default();
        *count += 1;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut unconflicted = StateMap::new();
    let mut conflicts = Conflicts::new();
    for (key, (ids, count)) in values {
        let everywhere = resolution == Resolution::V1 || count == state_sets.len();
        if everywhere && ids.len() == 1 {
            unconflicted.insert(key.clone(), ids[0].clone());
        } else {
            conflicts.insert(key, ids);
        }
    }
    (unconflicted, conflicts)
}

/// The events that a resolution may look at.
struct Events<F>(F);

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> Events<F> {
    fn get(&self, id: &EventId) -> Result<Arc<Pdu>, ResolveError> {
        (self.0)(id).ok_or_else(|| ResolveError::MissingEvent(id.to_owned()))
    }
}
