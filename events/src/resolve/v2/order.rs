//! The two orders in which events are checked: reverse topological power ordering, and mainline
//! ordering.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use super::super::{
    Events, ResolveError,
    graph::{AuthGraph, Node},
};
use crate::{
    Pdu, RoomVersion,
    auth::{Level, PowerLevels},
};

/// "The lexicographically smallest topological ordering based on the DAG formed by auth events":
/// among the events whose auth events are placed, the one whose sender has the greatest power comes
/// first, then the oldest, then the one with the smallest id.
pub(super) fn by_power(
    version: &RoomVersion,
    graph: &AuthGraph,
    create: Option<&Pdu>,
    events: &BTreeSet<usize>,
) -> Vec<usize> {
    let mut levels = SenderLevels { version, graph, create, known: HashMap::new() };
    let mut rank = |node: usize| {
        let event = &graph.node(node).event;
        let level = levels.of(node);
        Reverse((Reverse(level), event.origin_server_ts(), event.event_id(), node))
    };
    let mut missing: HashMap<usize, usize> = HashMap::new();
    let mut citing: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for &node in events {
        let auth: BTreeSet<usize> =
            graph.node(node).auth.iter().copied().filter(|auth| events.contains(auth)).collect();
        if auth.is_empty() {
            ready.push(rank(node));
        }
        missing.insert(node, auth.len());
        auth.into_iter().for_each(|auth| citing.entry(auth).or_default().push(node));
    }
    let mut order = Vec::with_capacity(events.len());
    while let Some(Reverse((.., node))) = ready.pop() {
        order.push(node);
        for later in citing.remove(&node).unwrap_or_default() {
            let missing = missing.entry(later).or_default();
            *missing -= 1;
            if *missing == 0 {
                ready.push(rank(later));
            }
        }
    }
    order
}

/// The power of events' senders, "when looking at their respective `auth_events`".
struct SenderLevels<'a> {
    version: &'a RoomVersion,
    graph: &'a AuthGraph,
    /// For events that do not cite it.
    create: Option<&'a Pdu>,
    known: HashMap<(Option<usize>, Option<usize>), PowerLevels>,
}

impl SenderLevels<'_> {
    fn of(&mut self, node: usize) -> Level {
        let Node { event, auth } = self.graph.node(node);
        let among_auth = |event_type| {
            auth.iter()
                .copied()
                .find(|&auth| self.graph.node(auth).event.is_state_of(event_type, ""))
        };
        let key = (among_auth("m.room.create"), among_auth("m.room.power_levels"));
        let levels = self.known.entry(key).or_insert_with(|| {
            let event = |node: Option<usize>| node.map(|node| &*self.graph.node(node).event);
            PowerLevels::read(self.version, event(key.0).or(self.create), event(key.1))
        });
        levels.for_user(event.sender())
    }
}

/// The power level events that lead to `power_levels` are the mainline. An event is placed by where
/// the chain of its own power level events meets it: first those that meet it nowhere or long ago,
/// then by age, then by id.
pub(super) fn by_mainline<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    graph: &AuthGraph,
    nodes: impl Iterator<Item = usize>,
    power_levels: Option<OwnedEventId>,
    events: &Events<F>,
) -> Result<Vec<usize>, ResolveError> {
    let mut mainline = Mainline::of(power_levels, events)?;
    let mut ranked = Vec::new();
    for node in nodes {
        let event = &graph.node(node).event;
        let position = mainline.position(event, events)?;
        ranked.push((Reverse(position), event.origin_server_ts(), event.event_id(), node));
    }
    ranked.sort_unstable();
    Ok(ranked.into_iter().map(|(.., node)| node).collect())
}

struct Mainline {
    /// 0 for the power levels in force, [`Self::NOWHERE`] for those that do not lead to them.
    positions: HashMap<OwnedEventId, usize>,
}

impl Mainline {
    const NOWHERE: usize = usize::MAX;

    fn of<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
        power_levels: Option<OwnedEventId>,
        events: &Events<F>,
    ) -> Result<Self, ResolveError> {
        let mut positions = HashMap::new();
        let mut next = power_levels;
        while let Some(id) = next {
            let event = events.get(&id)?;
            if positions.insert(id.clone(), positions.len()).is_some() {
                return Err(ResolveError::AuthCycle(id));
            }
            next = cited_power_levels(&event, events)?;
        }
        Ok(Self { positions })
    }

    fn position<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
        &mut self,
        event: &Pdu,
        events: &Events<F>,
    ) -> Result<usize, ResolveError> {
        let mut passed: Vec<OwnedEventId> = Vec::new();
        let mut next = Some(event.event_id().clone());
        let mut position = Self::NOWHERE;
        while let Some(id) = next {
            if let Some(&known) = self.positions.get(&id) {
                position = known;
                break;
            }
            next = cited_power_levels(&*events.get(&id)?, events)?;
            passed.push(id);
        }
        // What lies between the event and the mainline is asked for again by its siblings.
        self.positions.extend(passed.into_iter().map(|id| (id, position)));
        Ok(position)
    }
}

/// "The `m.room.power_levels` event in the `auth_events`".
fn cited_power_levels<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    event: &Pdu,
    events: &Events<F>,
) -> Result<Option<OwnedEventId>, ResolveError> {
    for id in event.auth_events() {
        if events.get(id)?.is_state_of("m.room.power_levels", "") {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}
