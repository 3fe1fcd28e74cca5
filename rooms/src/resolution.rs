//! One state out of several: state resolution over tries.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use events::{Pdu, ResolveError, RoomVersion, StateMap};
use ruma::OwnedEventId;
use storage::Batch;

use crate::{
    Error, Root,
    rooms::Inner,
    store::StateNodes,
    trie::{Entry, NewNodes},
};

type Known = HashMap<OwnedEventId, Arc<Pdu>>;

impl Inner {
    /// The state that the given ones resolve to. Its nodes are on their way to the store.
    pub(crate) async fn resolved(
        &self,
        version: &'static RoomVersion,
        roots: Vec<Root>,
    ) -> Result<Root, Error> {
        self.resolved_with(version, roots, None).await
    }

    /// The same, where one event of the states may not be in the store yet.
    pub(crate) async fn resolved_with(
        &self,
        version: &'static RoomVersion,
        mut roots: Vec<Root>,
        added: Option<&Arc<Pdu>>,
    ) -> Result<Root, Error> {
        roots.sort_unstable_by_key(|root| root.0);
        roots.dedup();
        match roots.as_slice() {
            [] => return Ok(Root::EMPTY),
            [only] => return Ok(*only),
            _ => {}
        }
        let mut sets = Vec::with_capacity(roots.len());
        for root in &roots {
            sets.push(self.state_map(*root).await?);
        }
        let resolved = self.resolve(version, &sets, added).await?;
        self.root_of(roots[0], &sets[0], resolved).await
    }

    pub(crate) async fn state_map(&self, root: Root) -> Result<StateMap, Error> {
        let entries = self.trie.entries(root).await?;
        Ok(entries
            .into_iter()
            .map(|entry| ((entry.event_type, entry.state_key), entry.event_id))
            .collect())
    }

    /// The pure function, with the events it asks for loaded first. Most resolutions look at the
    /// auth chains of what is in conflict only.
    async fn resolve(
        &self,
        version: &'static RoomVersion,
        sets: &[StateMap],
        added: Option<&Arc<Pdu>>,
    ) -> Result<StateMap, Error> {
        let mut known: Known =
            added.map(|pdu| (pdu.event_id().clone(), Arc::clone(pdu))).into_iter().collect();
        let conflicted = sets
            .iter()
            .flatten()
            .filter(|(key, id)| sets.iter().any(|other| other.get(*key) != Some(*id)));
        let mut open: Vec<OwnedEventId> = conflicted.map(|(_, id)| id.clone()).collect();
        open.extend(added.into_iter().flat_map(|pdu| pdu.auth_events().iter().cloned()));
        let mut whole = false;
        let sets: Arc<[StateMap]> = sets.into();
        loop {
            self.load_chains(version, open, &mut known).await?;
            let (sets_there, events) = (Arc::clone(&sets), std::mem::take(&mut known));
            let (result, events) = tokio::task::spawn_blocking(move || {
                let result = events::resolve(version, &sets_there, |id| events.get(id).cloned());
                (result, events)
            })
            .await
            .map_err(|error| Error::Internal(format!("state resolution: {error}")))?;
            known = events;
            match result {
                Ok(resolved) => return Ok(resolved),
                Err(ResolveError::MissingEvent(_)) if !whole => {
                    whole = true;
                    open = sets.iter().flatten().map(|(_, id)| id.clone()).collect();
                }
                Err(error) => return Err(Error::Internal(format!("state resolution: {error}"))),
            }
        }
    }

    /// Adds the events and their auth chains.
    async fn load_chains(
        &self,
        version: &RoomVersion,
        mut open: Vec<OwnedEventId>,
        known: &mut Known,
    ) -> Result<(), Error> {
        let mut asked: HashSet<OwnedEventId> = open.iter().cloned().collect();
        while let Some(id) = open.pop() {
            if known.contains_key(&id) {
                continue;
            }
            let event = self.events.get_latest(&id).await?;
            let event = event.ok_or_else(|| Error::Internal(format!("event {id} is missing")))?;
            let create = version
                .room_id_is_create_hash()
                .then(|| events::room_create_event_id(event.pdu.room_id()))
                .flatten();
            for next in event.pdu.auth_events().iter().chain(&create) {
                if !known.contains_key(next) && asked.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
            known.insert(id, Arc::clone(&event.pdu));
        }
        Ok(())
    }

    /// The trie of a state, grown from one that it has most in common with.
    async fn root_of(&self, base: Root, old: &StateMap, new: StateMap) -> Result<Root, Error> {
        let mut nodes = NewNodes::default();
        let grows = old.keys().all(|key| new.contains_key(key));
        let mut root = if grows { base } else { Root::EMPTY };
        for ((event_type, state_key), event_id) in new {
            let key = (event_type, state_key);
            if grows && old.get(&key) == Some(&event_id) {
                continue;
            }
            let entry = Entry { event_type: key.0, state_key: key.1, event_id };
            root = self.trie.insert(root, entry, &mut nodes).await?;
        }
        self.keep_nodes(nodes)?;
        Ok(root)
    }

    /// The trie of a state that nothing is known of yet.
    pub(crate) fn new_root(&self, state: StateMap) -> Result<Root, Error> {
        let entries = state
            .into_iter()
            .map(|((event_type, state_key), event_id)| Entry { event_type, state_key, event_id })
            .collect();
        let mut nodes = NewNodes::default();
        let root = nodes.build(entries);
        self.keep_nodes(nodes)?;
        Ok(root)
    }

    /// Stores nodes ahead of the batch that will refer to them: batches become durable in order.
    pub(crate) fn keep_nodes(&self, nodes: NewNodes) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (id, bytes) in nodes.rows() {
            batch.derive_put::<StateNodes>(id, (), bytes);
        }
        if !batch.is_empty() {
            let _flushed_before_what_follows = self.store.submit(batch)?;
            self.trie.publish(nodes);
        }
        Ok(())
    }
}
