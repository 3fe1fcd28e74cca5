//! One state out of several: state resolution over tries. Its cost follows what the states disagree
//! about, not the size of the room.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use events::{Partial, Pdu, RoomVersion, StateKey, StateMap};
use ruma::OwnedEventId;
use storage::Batch;

use crate::{
    Error, Root,
    rooms::Inner,
    store::StateNodes,
    trie::{Entry, NewNodes},
};

type Known = HashMap<OwnedEventId, Arc<Pdu>>;

/// States, as far as they disagree.
struct Disagreement {
    roots: Vec<Root>,
    keys: BTreeSet<StateKey>,
    /// For each state what it has under the keys, and what authorises once that is known.
    sets: Arc<Vec<StateMap>>,
}

impl Disagreement {
    /// Any of the states: outside the keys they are the same.
    fn base(&self) -> Root {
        self.roots[0]
    }
}

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
        let mut disagreement = self.disagreement(roots).await?;
        let resolved = self.resolve(version, &mut disagreement, added).await?;
        self.root_of(&disagreement, resolved).await
    }

    async fn disagreement(&self, roots: Vec<Root>) -> Result<Disagreement, Error> {
        let base = roots[0];
        let mut differences = Vec::with_capacity(roots.len());
        let mut in_base = StateMap::new();
        for root in &roots[1..] {
            let gone = map_of(self.trie.diff(*root, base).await?);
            let new = map_of(self.trie.diff(base, *root).await?);
            in_base.extend(gone.iter().map(|(key, id)| (key.clone(), id.clone())));
            differences.push((gone, new));
        }
        let mut keys: BTreeSet<StateKey> = in_base.keys().cloned().collect();
        let mut sets = vec![in_base];
        for (gone, new) in differences {
            keys.extend(new.keys().cloned());
            let mut set = sets[0].clone();
            set.retain(|key, _| !gone.contains_key(key));
            set.extend(new);
            sets.push(set);
        }
        Ok(Disagreement { roots, keys, sets: Arc::new(sets) })
    }

    /// The pure function, with the events it asks for loaded first.
    async fn resolve(
        &self,
        version: &'static RoomVersion,
        disagreement: &mut Disagreement,
        added: Option<&Arc<Pdu>>,
    ) -> Result<StateMap, Error> {
        let mut known: Known =
            added.map(|pdu| (pdu.event_id().clone(), Arc::clone(pdu))).into_iter().collect();
        let mut open: Vec<OwnedEventId> =
            disagreement.sets.iter().flat_map(|set| set.values().cloned()).collect();
        open.extend(added.into_iter().flat_map(|pdu| pdu.auth_events().iter().cloned()));
        self.load_chains(version, open, &mut known).await?;
        let authorising = self.authorising(version, disagreement, &known).await?;
        self.load_chains(version, authorising.values().cloned().collect(), &mut known).await?;
        for set in Arc::make_mut(&mut disagreement.sets) {
            set.extend(authorising.iter().map(|(key, id)| (key.clone(), id.clone())));
        }
        let known = Arc::new(known);
        let mut reached: Option<HashSet<OwnedEventId>> = None;
        loop {
            let (sets, known) = (Arc::clone(&disagreement.sets), Arc::clone(&known));
            let told = reached.take();
            let was_told = told.is_some();
            let part = tokio::task::spawn_blocking(move || {
                events::resolve_part(version, &sets, told.as_ref(), |id| known.get(id).cloned())
            });
            let failed = |error: String| Error::Internal(format!("state resolution: {error}"));
            let part = part.await.map_err(|error| failed(error.to_string()))?;
            match part.map_err(|error| failed(error.to_string()))? {
                Partial::Resolved(state) => return Ok(state),
                Partial::Ask(_) if was_told => return Err(failed("asked twice".to_owned())),
                Partial::Ask(ids) => reached = Some(self.reached(disagreement, ids).await?),
            }
        }
    }

    /// What authorises the known events, as far as the states agree about it.
    async fn authorising(
        &self,
        version: &RoomVersion,
        disagreement: &Disagreement,
        known: &Known,
    ) -> Result<StateMap, Error> {
        // Version 2.1 begins with an empty state.
        if version.room_id_is_create_hash() {
            return Ok(StateMap::new());
        }
        let always = ["m.room.create", "m.room.power_levels", "m.room.join_rules"];
        let mut keys: BTreeSet<StateKey> =
            always.map(|event_type| (event_type.to_owned(), String::new())).into();
        for pdu in known.values().filter(|pdu| pdu.is_state()) {
            let wanted = events::auth_events_for(
                version,
                pdu.event_type(),
                pdu.sender(),
                pdu.state_key(),
                pdu.content(),
            );
            // What can say nothing of this is allowed by nothing.
            keys.extend(wanted.into_iter().flatten());
        }
        let nodes = NewNodes::default();
        let mut found = StateMap::new();
        for (event_type, state_key) in keys.difference(&disagreement.keys) {
            let id = self.trie.get(disagreement.base(), event_type, state_key, &nodes).await?;
            found.extend(id.map(|id| ((event_type.clone(), state_key.clone()), id)));
        }
        Ok(found)
    }

    /// Those of the events that are in the auth chains of what the states agree about. This does
    /// look at the whole room; resolution asks for it where one branch has moved on twice.
    async fn reached(
        &self,
        disagreement: &Disagreement,
        wanted: Vec<OwnedEventId>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let wanted: HashSet<OwnedEventId> = wanted.into_iter().collect();
        let mut reached = HashSet::new();
        let mut walked: HashSet<OwnedEventId> = HashSet::new();
        let entries = map_of(self.trie.entries(disagreement.base()).await?).into_iter();
        let mut open: Vec<OwnedEventId> =
            entries.filter(|(key, _)| !disagreement.keys.contains(key)).map(|(_, id)| id).collect();
        while let Some(id) = open.pop() {
            if reached.len() == wanted.len() {
                break;
            }
            let event = self.events.get_latest(&id).await?;
            let event = event.ok_or_else(|| Error::Internal(format!("event {id} is missing")))?;
            for auth in event.pdu.auth_events() {
                if walked.contains(auth) {
                    continue;
                }
                reached.extend(wanted.get(auth).cloned());
                walked.insert(auth.clone());
                open.push(auth.clone());
            }
        }
        Ok(reached)
    }

    /// Adds the events and their auth chains.
    async fn load_chains(
        &self,
        version: &RoomVersion,
        mut open: Vec<OwnedEventId>,
        known: &mut Known,
    ) -> Result<(), Error> {
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
                // One that waits may be put there again; the loop passes over it.
                if !known.contains_key(next) {
                    open.push(next.clone());
                }
            }
            known.insert(id, Arc::clone(&event.pdu));
        }
        Ok(())
    }

    /// The trie with the disagreement settled: that of the state which is closest, with the others'
    /// entries where they win.
    async fn root_of(
        &self,
        disagreement: &Disagreement,
        resolved: StateMap,
    ) -> Result<Root, Error> {
        let Disagreement { roots, keys, sets } = disagreement;
        let differs = |set: &StateMap, key: &StateKey| set.get(key) != resolved.get(key);
        let count = |set: &StateMap| keys.iter().filter(|key| differs(set, key)).count();
        let closest = roots.iter().zip(&**sets).min_by_key(|(_, set)| count(set));
        let Some((&closest, set)) = closest else { return Ok(Root::EMPTY) };
        let mut nodes = NewNodes::default();
        let mut root = closest;
        for key in keys.iter().filter(|key| differs(set, key)) {
            root = match resolved.get(key) {
                Some(event_id) => {
                    let ((event_type, state_key), event_id) = (key.clone(), event_id.clone());
                    let entry = Entry { event_type, state_key, event_id };
                    self.trie.insert(root, entry, &mut nodes).await?
                }
                None => self.trie.remove(root, &key.0, &key.1, &mut nodes).await?,
            };
        }
        nodes.keep_only(root);
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

fn map_of(entries: Vec<Entry>) -> StateMap {
    entries.into_iter().map(|entry| ((entry.event_type, entry.state_key), entry.event_id)).collect()
}
