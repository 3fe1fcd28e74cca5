//! The graph that auth events span, over small integers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use super::{Events, ResolveError};
use crate::Pdu;

/// Some events, and all events of their auth chains.
pub(super) struct AuthGraph {
    nodes: Vec<Node>,
    index: HashMap<OwnedEventId, usize>,
}

pub(super) struct Node {
    pub(super) event: Arc<Pdu>,
    /// The event's auth events.
    pub(super) auth: Vec<usize>,
}

impl AuthGraph {
    pub(super) fn load<'i, F: Fn(&EventId) -> Option<Arc<Pdu>>>(
        roots: impl Iterator<Item = &'i OwnedEventId>,
        events: &Events<F>,
    ) -> Result<Self, ResolveError> {
        let mut graph = Self { nodes: Vec::new(), index: HashMap::new() };
        for id in roots {
            graph.intern(id, events)?;
        }
        let mut next = 0;
        while next < graph.nodes.len() {
            let event = graph.nodes[next].event.clone();
            let auth = event.auth_events().iter().map(|id| graph.intern(id, events));
            graph.nodes[next].auth = auth.collect::<Result<_, _>>()?;
            next += 1;
        }
        Ok(graph)
    }

    fn intern<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
        &mut self,
        id: &OwnedEventId,
        events: &Events<F>,
    ) -> Result<usize, ResolveError> {
        if let Some(&node) = self.index.get(id) {
            return Ok(node);
        }
        let node = self.nodes.len();
        self.nodes.push(Node { event: events.get(id)?, auth: Vec::new() });
        self.index.insert(id.clone(), node);
        Ok(node)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    pub(super) fn find(&self, id: &EventId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Every event after all its auth events.
    pub(super) fn oldest_first(&self) -> Result<Vec<usize>, ResolveError> {
        let mut missing: Vec<usize> = self.nodes.iter().map(|node| node.auth.len()).collect();
        let mut citing = vec![Vec::new(); self.nodes.len()];
        for (node, entry) in self.nodes.iter().enumerate() {
            for &auth in &entry.auth {
                citing[auth].push(node);
            }
        }
        let mut order: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| missing[node] == 0).collect();
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            for &later in &citing[node] {
                missing[later] -= 1;
                if missing[later] == 0 {
                    order.push(later);
                }
            }
        }
        match missing.iter().position(|&missing| missing > 0) {
            None => Ok(order),
            Some(node) => Err(ResolveError::AuthCycle(self.nodes[node].event.event_id().clone())),
        }
    }

    /// The union of the auth chains of `events`.
    pub(super) fn auth_chain(&self, events: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let mut chain = BTreeSet::new();
        let mut pending: Vec<usize> =
            events.flat_map(|event| self.nodes[event].auth.iter().copied()).collect();
        while let Some(node) = pending.pop() {
            if chain.insert(node) {
                pending.extend(&self.nodes[node].auth);
            }
        }
        chain
    }
}
