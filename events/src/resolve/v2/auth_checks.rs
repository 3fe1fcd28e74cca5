//! The iterative auth checks: events are applied to a state one by one, if that state allows them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use super::super::{Events, ResolveError, StateMap, graph::AuthGraph};
use crate::{
    Pdu, RoomVersion,
    auth::{AuthState, PowerLevels, check_with},
};

/// The ids of the create event and of the power level event.
type LevelsKey = (OwnedEventId, Option<OwnedEventId>);

pub(super) struct AuthChecks<'a, F> {
    version: &'a RoomVersion,
    graph: &'a AuthGraph,
    events: &'a Events<F>,
    create: Option<&'a Pdu>,
    /// The state that the checks go on from: what they started with, and what was applied since. By
    /// type and state key, so that a look-up needs no key of its own.
    state: BTreeMap<&'a str, HashMap<&'a str, &'a OwnedEventId>>,
    /// What was applied.
    resolved: StateMap,
    power_levels: RefCell<HashMap<LevelsKey, Arc<PowerLevels>>>,
}

impl<'a, F: Fn(&EventId) -> Option<Arc<Pdu>>> AuthChecks<'a, F> {
    pub(super) fn new(
        version: &'a RoomVersion,
        graph: &'a AuthGraph,
        events: &'a Events<F>,
        create: Option<&'a Pdu>,
        base: Option<&'a StateMap>,
    ) -> Self {
        let mut state: BTreeMap<&str, HashMap<&str, &OwnedEventId>> = BTreeMap::new();
        for ((event_type, state_key), id) in base.into_iter().flatten() {
            state.entry(event_type).or_default().insert(state_key, id);
        }
        let (resolved, power_levels) = (StateMap::new(), RefCell::default());
        Self { version, graph, events, create, state, resolved, power_levels }
    }

    /// Applies the event, or ignores it if the rules do not allow it.
    pub(super) fn apply(&mut self, node: usize) -> Result<(), ResolveError> {
        let event: &'a Pdu = &self.graph.node(node).event;
        let Some(state_key) = event.state_key() else { return Ok(()) };
        let state = StateOf { checks: self, node, missing: RefCell::new(None) };
        let allowed = check_with(self.version, event, &state).is_ok();
        if let Some(error) = state.missing.into_inner() {
            return Err(error);
        }
        if allowed {
            let key = (event.event_type().to_owned(), state_key.to_owned());
            self.resolved.insert(key, event.event_id().clone());
            let of_type = self.state.entry(event.event_type()).or_default();
            of_type.insert(state_key, event.event_id());
        }
        Ok(())
    }

    pub(super) fn in_force(&self, event_type: &str, state_key: &str) -> Option<&OwnedEventId> {
        self.state.get(event_type)?.get(state_key).copied()
    }

    pub(super) fn into_resolved(self) -> StateMap {
        self.resolved
    }
}

/// The state that one event is checked against. "If a (`event_type`, `state_key`) key that is
/// required for checking the authorization rules is not present in the state, then the appropriate
/// state event from the event's `auth_events` is used if the auth event is not rejected."
struct StateOf<'a, F> {
    checks: &'a AuthChecks<'a, F>,
    node: usize,
    missing: RefCell<Option<ResolveError>>,
}

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> StateOf<'_, F> {
    fn fetch(&self, id: &EventId) -> Option<Arc<Pdu>> {
        match self.checks.events.get(id) {
            Ok(event) => Some(event),
            Err(error) => {
                self.missing.replace(Some(error));
                None
            }
        }
    }

    fn among_auth_events(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        let graph = self.checks.graph;
        let auth = graph.node(self.node).auth.iter().map(|&auth| &graph.node(auth).event);
        let mut matching = auth.filter(|event| event.is_state_of(event_type, state_key));
        matching.find(|event| !event.rejected()).cloned()
    }
}

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> AuthState for StateOf<'_, F> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        let in_force = self.checks.in_force(event_type, state_key);
        if let Some(event) = in_force.and_then(|id| self.fetch(id))
            && !event.rejected()
        {
            return Some(event);
        }
        let event = self.among_auth_events(event_type, state_key);
        // In version 12 no event cites the create event: its room id does.
        let implied = self.checks.version.room_id_is_create_hash() && event_type == "m.room.create";
        if event.is_none() && implied {
            return self.checks.create.and_then(|create| self.fetch(create.event_id()));
        }
        event
    }

    fn power_levels(&self, version: &RoomVersion, create: &Pdu) -> Arc<PowerLevels> {
        let event = self.get("m.room.power_levels", "");
        let key = (create.event_id().clone(), event.as_ref().map(|event| event.event_id().clone()));
        let mut known = self.checks.power_levels.borrow_mut();
        let levels = known
            .entry(key)
            .or_insert_with(|| Arc::new(PowerLevels::new(version, create, event.as_deref())));
        levels.clone()
    }
}
