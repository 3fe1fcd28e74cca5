//! Version 1 of state resolution, by depth and SHA-1 of event ids. It resets state now and then;
//! it is what rooms of version 1 run on.

use std::{cell::RefCell, sync::Arc};

use ruma::{EventId, OwnedEventId};
use sha1::{Digest as _, Sha1};

use super::{Conflicts, Events, ResolveError, StateKey, StateMap};
use crate::{
    Pdu, RoomVersion,
    auth::{AuthState, check_with},
};

pub(super) fn resolve<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    version: &RoomVersion,
    unconflicted: StateMap,
    mut conflicts: Conflicts<'_>,
    events: &Events<F>,
) -> Result<StateMap, ResolveError> {
    let mut resolver = Resolver { version, events, state: unconflicted };
    for event_type in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        for (key, ids) in conflicts.extract_if(.., |key, _| key.0 == event_type) {
            resolver.add_auth_event(key, ids)?;
        }
    }
    for (key, ids) in conflicts {
        resolver.add_other_event(key, ids)?;
    }
    Ok(resolver.state)
}

struct Resolver<'a, F> {
    version: &'a RoomVersion,
    events: &'a Events<F>,
    state: StateMap,
}

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> Resolver<'_, F> {
    /// "Sort the list by ascending `depth` then descending `sha1(event_id)`. Add the first event in
    /// the list to R. For each subsequent event in the list, check that the event would be allowed
    /// by the authorisation rules for a room in state R. If it would not be allowed, stop".
    fn add_auth_event(
        &mut self,
        key: &StateKey,
        ids: Vec<&OwnedEventId>,
    ) -> Result<(), ResolveError> {
        let mut candidates = self.candidates(ids)?;
        candidates.reverse();
        let mut candidates = candidates.into_iter();
        let Some(first) = candidates.next() else { return Ok(()) };
        self.state.insert(key.clone(), first.event_id().clone());
        for event in candidates {
            if !self.allows(&event)? {
                break;
            }
            self.state.insert(key.clone(), event.event_id().clone());
        }
        Ok(())
    }

    /// "Pick the event with the highest depth and lowest `sha1(event_id)` that passes
    /// authentication in R". If none does, the lowest stays, as deployed servers have it.
    fn add_other_event(
        &mut self,
        key: &StateKey,
        ids: Vec<&OwnedEventId>,
    ) -> Result<(), ResolveError> {
        let candidates = self.candidates(ids)?;
        let mut picked = candidates.last();
        for event in &candidates {
            if self.allows(event)? {
                picked = Some(event);
                break;
            }
        }
        let picked = picked.map(|event| event.event_id().clone());
        self.state.extend(picked.map(|id| (key.clone(), id)));
        Ok(())
    }

    /// By descending depth, then ascending SHA-1 of the event id.
    fn candidates(&self, ids: Vec<&OwnedEventId>) -> Result<Vec<Arc<Pdu>>, ResolveError> {
        let events = ids.into_iter().map(|id| self.events.get(id));
        let mut events = events.collect::<Result<Vec<_>, _>>()?;
        events.sort_by_cached_key(|event| {
            let hash: [u8; 20] = Sha1::digest(event.event_id().as_bytes()).into();
            (std::cmp::Reverse(event.depth()), hash)
        });
        Ok(events)
    }

    fn allows(&self, event: &Pdu) -> Result<bool, ResolveError> {
        let state = Current { resolver: self, missing: RefCell::new(None) };
        let allowed = check_with(self.version, event, &state).is_ok();
        match state.missing.into_inner() {
            Some(error) => Err(error),
            None => Ok(allowed),
        }
    }
}

struct Current<'a, F> {
    resolver: &'a Resolver<'a, F>,
    missing: RefCell<Option<ResolveError>>,
}

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> AuthState for Current<'_, F> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        let id = self.resolver.state.get(&(event_type.to_owned(), state_key.to_owned()))?;
        match self.resolver.events.get(id) {
            Ok(event) => Some(event),
            Err(error) => {
                self.missing.replace(Some(error));
                None
            }
        }
    }
}
