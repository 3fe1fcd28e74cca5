//! State resolution: one state out of several, versions 1, 2 and 2.1.
//!
//! Nothing is dropped in silence: an event that a step needs and that is not handed in fails the
//! resolution, since a state computed without it could be any state.

mod graph;
mod v1;
mod v2;

use std::{
    collections::{BTreeMap, BTreeSet},
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
type Conflicts = BTreeMap<StateKey, BTreeSet<OwnedEventId>>;

/// Resolves `state_sets` to one state.
///
/// `events` must know every event of the sets and of their auth chains, and in version 12 the
/// room's create event; each with its [`Pdu::rejected`] mark.
pub fn resolve(
    version: &RoomVersion,
    state_sets: &[StateMap],
    events: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<StateMap, ResolveError> {
    let resolution = version.resolution();
    let (unconflicted, conflicts) = split(state_sets, resolution);
    if conflicts.is_empty() {
        return Ok(unconflicted);
    }
    let events = Events(events);
    match resolution {
        Resolution::V1 => v1::resolve(version, unconflicted, conflicts, &events),
        Resolution::V2 | Resolution::V2_1 => {
            v2::resolve(version, state_sets, unconflicted, &conflicts, &events)
        }
    }
}

/// "If a given key K is present in every Si with the same value V in each state map, then the pair
/// (K, V) belongs to the unconflicted state map. Otherwise, V belongs to the conflicted state set."
///
/// In version 1 a key that some states lack is no conflict.
fn split(state_sets: &[StateMap], resolution: Resolution) -> (StateMap, Conflicts) {
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
            conflicts.insert(key.clone(), ids.into_iter().cloned().collect());
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
