//! Room state as a content-addressed persistent trie.
//!
//! A node's id is the hash of its content, so two states are equal exactly if their roots are, and
//! what they have in common is stored once. An entry lies on the path given by the hash of its
//! `(type, state key)`. A subtree is a leaf if it has at most [`LEAF_ENTRIES`] entries and a branch
//! otherwise: its shape depends on what it holds, not on how that came about.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::Store;

use crate::{Error, store::StateNodes};

const LEAF_ENTRIES: usize = 8;
const FANOUT: usize = 16;
/// Nibbles of a path. Entries that agree in all of them would have colliding hashes.
const PATH_NIBBLES: usize = 40;

/// A hash cut to 160 bits.
pub(crate) type NodeId = [u8; 20];

/// The root of a state: equal roots are equal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Root(pub(crate) NodeId);

impl Root {
    /// The state without entries.
    pub const EMPTY: Self = Self([0; 20]);
}

/// `(event type, state key)` and the event that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) event_type: String,
    pub(crate) state_key: String,
    pub(crate) event_id: OwnedEventId,
}

impl Entry {
    fn key(&self) -> (&str, &str) {
        (&self.event_type, &self.state_key)
    }

    fn path(&self) -> NodeId {
        path_of(&self.event_type, &self.state_key)
    }
}

type Children = [Option<NodeId>; FANOUT];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Node {
    /// Sorted by key.
    Leaf(Vec<Entry>),
    Branch(Box<Children>),
}

/// Nodes that a draft has made and that are not stored yet.
#[derive(Debug, Default)]
pub(crate) struct NewNodes(HashMap<NodeId, (Arc<Node>, Bytes)>);

impl NewNodes {
    fn add(&mut self, node: Node) -> NodeId {
        let bytes = postcard::to_stdvec(&node).expect("a node holds only what postcard can write");
        let id = cut(Sha256::digest(&bytes).as_slice());
        self.0.insert(id, (Arc::new(node), bytes.into()));
        id
    }

    /// The state with these entries.
    pub(crate) fn build(&mut self, mut entries: Vec<Entry>) -> Root {
        if entries.is_empty() {
            return Root::EMPTY;
        }
        entries.sort_by(|one, other| one.key().cmp(&other.key()));
        Root(build(entries, 0, self))
    }

    /// Forgets the nodes of states that were passed on the way to this one.
    pub(crate) fn keep_only(&mut self, root: Root) {
        let mut kept = HashMap::new();
        let mut open = vec![root.0];
        while let Some(id) = open.pop() {
            let Some(made) = self.0.remove(&id) else { continue };
            if let Node::Branch(children) = &*made.0 {
                open.extend(children.iter().flatten());
            }
            kept.insert(id, made);
        }
        self.0 = kept;
    }

    /// The rows to store.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&NodeId, &Bytes)> {
        self.0.iter().map(|(id, (_, bytes))| (id, bytes))
    }
}

#[derive(Clone)]
struct NodeWeight;

impl Weighter<NodeId, Arc<Node>> for NodeWeight {
    fn weight(&self, _id: &NodeId, node: &Arc<Node>) -> u64 {
        match &**node {
            Node::Branch(_) => 400,
            Node::Leaf(entries) => entries
                .iter()
                .map(|entry| 160 + entry.event_type.len() as u64 + entry.state_key.len() as u64)
                .sum(),
        }
    }
}

/// All states of all rooms.
pub(crate) struct Trie {
    store: Store,
    cache: Cache<NodeId, Arc<Node>, NodeWeight>,
}

impl Trie {
    pub(crate) fn new(store: Store, cache_bytes: u64) -> Self {
        let expected = usize::try_from(cache_bytes / 600).unwrap_or(usize::MAX);
        Self { store, cache: Cache::with_weighter(expected, cache_bytes, NodeWeight) }
    }

    pub(crate) async fn get(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
        new: &NewNodes,
    ) -> Result<Option<OwnedEventId>, Error> {
        let path = path_of(event_type, state_key);
        let mut id = root.0;
        for depth in 0.. {
            match &*self.node(id, new).await? {
                Node::Branch(children) => match children[nibble(&path, depth)] {
                    Some(child) => id = child,
                    None => return Ok(None),
                },
                Node::Leaf(entries) => {
                    let found = entries.iter().find(|entry| entry.key() == (event_type, state_key));
                    return Ok(found.map(|entry| entry.event_id.clone()));
                }
            }
        }
        unreachable!("a path ends in a leaf")
    }

    /// The state with one entry set. Nodes that do not exist yet are added to `new`.
    pub(crate) async fn insert(
        &self,
        root: Root,
        entry: Entry,
        new: &mut NewNodes,
    ) -> Result<Root, Error> {
        let path = entry.path();
        let mut above: Vec<(Children, usize)> = Vec::new();
        let mut id = root.0;
        let mut entries = loop {
            match &*self.node(id, new).await? {
                Node::Leaf(entries) => break entries.clone(),
                Node::Branch(children) => {
                    let at = nibble(&path, above.len());
                    above.push((**children, at));
                    match children[at] {
                        Some(child) => id = child,
                        None => break Vec::new(),
                    }
                }
            }
        };
        match entries.binary_search_by(|other| other.key().cmp(&entry.key())) {
            Ok(at) if entries[at] == entry => return Ok(root),
            Ok(at) => entries[at] = entry,
            Err(at) => entries.insert(at, entry),
        }
        let mut id = build(entries, above.len(), new);
        for (mut children, at) in above.into_iter().rev() {
            children[at] = Some(id);
            id = new.add(Node::Branch(Box::new(children)));
        }
        Ok(Root(id))
    }

    /// The state without one entry.
    pub(crate) async fn remove(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
        new: &mut NewNodes,
    ) -> Result<Root, Error> {
        let path = path_of(event_type, state_key);
        let mut above: Vec<(Children, usize)> = Vec::new();
        let mut id = root.0;
        let mut entries = loop {
            match &*self.node(id, new).await? {
                Node::Leaf(entries) => break entries.clone(),
                Node::Branch(children) => {
                    let at = nibble(&path, above.len());
                    above.push((**children, at));
                    match children[at] {
                        Some(child) => id = child,
                        None => return Ok(root),
                    }
                }
            }
        };
        match entries.binary_search_by(|entry| entry.key().cmp(&(event_type, state_key))) {
            Ok(at) => drop(entries.remove(at)),
            Err(_) => return Ok(root),
        }
        let mut id = (!entries.is_empty()).then(|| new.add(Node::Leaf(entries)));
        for (mut children, at) in above.into_iter().rev() {
            children[at] = id;
            id = Some(match self.as_leaf(&children, new).await? {
                Some(leaf) => new.add(leaf),
                None => new.add(Node::Branch(Box::new(children))),
            });
        }
        Ok(id.map_or(Root::EMPTY, Root))
    }

    /// A branch that has become too small to be one.
    async fn as_leaf(&self, children: &Children, new: &NewNodes) -> Result<Option<Node>, Error> {
        let mut all = Vec::new();
        for child in children.iter().flatten() {
            match &*self.node(*child, new).await? {
                Node::Leaf(entries) if all.len() + entries.len() <= LEAF_ENTRIES => {
                    all.extend(entries.iter().cloned());
                }
                _ => return Ok(None),
            }
        }
        all.sort_by(|one: &Entry, other| one.key().cmp(&other.key()));
        Ok(Some(Node::Leaf(all)))
    }

    /// Every entry, in no particular order.
    pub(crate) async fn entries(&self, root: Root) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        let mut open = vec![root.0];
        while let Some(id) = open.pop() {
            match &*self.stored_node(id).await? {
                Node::Leaf(entries) => found.extend(entries.iter().cloned()),
                Node::Branch(children) => open.extend(children.iter().flatten()),
            }
        }
        Ok(found)
    }

    /// The entries of `new` that `old` does not have, or has otherwise.
    pub(crate) async fn diff(&self, old: Root, new: Root) -> Result<Vec<Entry>, Error> {
        let mut changed = Vec::new();
        let mut open = vec![(old.0, new.0)];
        while let Some((old, new)) = open.pop() {
            if old == new {
                continue;
            }
            let (before, after) = (self.stored_node(old).await?, self.stored_node(new).await?);
            if let (Node::Branch(before), Node::Branch(after)) = (&*before, &*after) {
                let pairs = before.iter().zip(after.iter());
                open.extend(pairs.filter_map(|(before, after)| {
                    after.map(|after| (before.unwrap_or(Root::EMPTY.0), after))
                }));
                continue;
            }
            if let (Node::Leaf(before), Node::Leaf(after)) = (&*before, &*after) {
                let is_new = |entry: &&Entry| !before.contains(entry);
                changed.extend(after.iter().filter(is_new).cloned());
                continue;
            }
            // One of them is a leaf, so where they differ is small or wholly new.
            let before = self.entries(Root(old)).await?;
            let before: HashMap<_, _> =
                before.iter().map(|entry| (entry.key(), &entry.event_id)).collect();
            let after = self.entries(Root(new)).await?;
            changed.extend(
                after
                    .into_iter()
                    .filter(|entry| before.get(&entry.key()) != Some(&&entry.event_id)),
            );
        }
        Ok(changed)
    }

    /// Makes new nodes readable; they are submitted to the store at the same time.
    pub(crate) fn publish(&self, new: NewNodes) {
        for (id, (node, _)) in new.0 {
            self.cache.insert(id, node);
        }
    }

    async fn node(&self, id: NodeId, new: &NewNodes) -> Result<Arc<Node>, Error> {
        match new.0.get(&id) {
            Some((node, _)) => Ok(Arc::clone(node)),
            None => self.stored_node(id).await,
        }
    }

    async fn stored_node(&self, id: NodeId) -> Result<Arc<Node>, Error> {
        if id == Root::EMPTY.0 {
            return Ok(Arc::new(Node::Leaf(Vec::new())));
        }
        if let Some(node) = self.cache.get(&id) {
            return Ok(node);
        }
        let mut bytes = self.store.get::<StateNodes>(id, ()).await?;
        if bytes.is_none() {
            // Submitted a moment ago and already out of the cache.
            self.store.barrier().wait().await?;
            bytes = self.store.get::<StateNodes>(id, ()).await?;
        }
        let bytes = bytes.ok_or_else(|| Error::Internal("a state node is missing".to_owned()))?;
        let node = postcard::from_bytes(&bytes)
            .map_err(|error| Error::Internal(format!("a state node is damaged: {error}")))?;
        let node = Arc::new(node);
        self.cache.insert(id, Arc::clone(&node));
        Ok(node)
    }
}

/// A subtree at `depth` with these entries, which are sorted by key.
fn build(entries: Vec<Entry>, depth: usize, new: &mut NewNodes) -> NodeId {
    if entries.len() <= LEAF_ENTRIES || depth == PATH_NIBBLES {
        return new.add(Node::Leaf(entries));
    }
    let mut parts: [Vec<Entry>; FANOUT] = Default::default();
    for entry in entries {
        parts[nibble(&entry.path(), depth)].push(entry);
    }
    let children = parts.map(|part| (!part.is_empty()).then(|| build(part, depth + 1, new)));
    new.add(Node::Branch(Box::new(children)))
}

fn path_of(event_type: &str, state_key: &str) -> NodeId {
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    let mut hash = Sha256::new();
    hash.update((event_type.len() as u64).to_be_bytes());
    hash.update(event_type);
    hash.update(state_key);
    cut(hash.finalize().as_slice())
}

fn cut(hash: &[u8]) -> NodeId {
    *hash.first_chunk().expect("a SHA-256 hash has more than 20 bytes")
}

fn nibble(path: &NodeId, depth: usize) -> usize {
    let byte = path[depth / 2];
    usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0xF })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use storage::{Batch, Config, Store};

    use super::*;

    fn trie() -> Trie {
        let store = Store::open(&Config::memory(), 1).expect("memory opens");
        Trie::new(store, 1 << 20)
    }

    fn event(number: u32) -> OwnedEventId {
        format!("$event{number}").try_into().expect("an event id")
    }

    fn entry(key: u16, number: u32) -> Entry {
        Entry {
            event_type: format!("type{}", key % 3),
            state_key: format!("key{key}"),
            event_id: event(number),
        }
    }

    async fn save(trie: &Trie, new: NewNodes) {
        let mut batch = Batch::new();
        for (id, bytes) in new.rows() {
            batch.derive_put::<StateNodes>(id, (), bytes);
        }
        trie.store.commit(batch).await.expect("commits");
    }

    async fn state(trie: &Trie, entries: impl IntoIterator<Item = Entry>) -> Root {
        let mut new = NewNodes::default();
        let mut root = Root::EMPTY;
        for entry in entries {
            root = trie.insert(root, entry, &mut new).await.expect("inserts");
        }
        save(trie, new).await;
        root
    }

    fn as_map(entries: Vec<Entry>) -> BTreeMap<(String, String), OwnedEventId> {
        entries.into_iter().map(|e| ((e.event_type, e.state_key), e.event_id)).collect()
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(test)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_root_does_not_depend_on_the_order(
            map in proptest::collection::btree_map(any::<u16>(), any::<u32>(), 0..200),
            seed in any::<u64>(),
        ) {
            let entries: Vec<_> = map.iter().map(|(key, number)| entry(*key, *number)).collect();
            let mut shuffled = entries.clone();
            shuffled.sort_by_key(|entry| {
                let mut hash = Sha256::new();
                hash.update(seed.to_be_bytes());
                hash.update(&entry.state_key);
                hash.finalize().to_vec()
            });
            run(async {
                let trie = trie();
                let one = state(&trie, entries.clone()).await;
                assert_eq!(one, state(&trie, shuffled).await);
                assert_eq!(as_map(trie.entries(one).await.unwrap()), as_map(entries));
            });
        }

        #[test]
        fn what_is_removed_was_never_there(
            map in proptest::collection::btree_map(0_u16..300, 0_u32..4, 0..60),
            gone in proptest::collection::btree_set(0_u16..300, 0..300),
        ) {
            run(async {
                let trie = trie();
                let mut root = state(&trie, map.iter().map(|(k, n)| entry(*k, *n))).await;
                let mut new = NewNodes::default();
                for key in &gone {
                    let Entry { event_type, state_key, .. } = entry(*key, 0);
                    root = trie.remove(root, &event_type, &state_key, &mut new).await.unwrap();
                }
                save(&trie, new).await;
                let left = map.iter().filter(|(key, _)| !gone.contains(*key));
                let expected = state(&trie, left.map(|(k, n)| entry(*k, *n))).await;
                assert_eq!(root, expected);
            });
        }

        #[test]
        fn the_difference_is_what_differs(
            old in proptest::collection::btree_map(0_u16..300, 0_u32..4, 0..200),
            changes in proptest::collection::btree_map(0_u16..300, 0_u32..4, 0..20),
        ) {
            run(async {
                let trie = trie();
                let before = state(&trie, old.iter().map(|(k, n)| entry(*k, *n))).await;
                let mut merged = old.clone();
                merged.extend(changes);
                let after = state(&trie, merged.iter().map(|(k, n)| entry(*k, *n))).await;
                let expected = as_map(
                    merged
                        .iter()
                        .filter(|(key, number)| old.get(key) != Some(number))
                        .map(|(key, number)| entry(*key, *number))
                        .collect(),
                );
                let found = trie.diff(before, after).await.unwrap();
                assert_eq!(found.len(), expected.len());
                assert_eq!(as_map(found), expected);
            });
        }
    }

    #[tokio::test]
    async fn of_many_changes_only_the_last_state_is_kept() {
        let trie = trie();
        let large = state(&trie, (0..1000).map(|key| entry(key, 1))).await;
        let mut new = NewNodes::default();
        let mut changed = large;
        for key in 0..1000 {
            changed = trie.insert(changed, entry(key, 2), &mut new).await.unwrap();
        }
        let all = new.rows().count();
        new.keep_only(changed);
        let kept = new.rows().count();
        assert!(kept * 3 < all, "{kept} of {all} nodes");
        save(&trie, new).await;
        let expected = as_map((0..1000).map(|key| entry(key, 2)).collect());
        assert_eq!(as_map(trie.entries(changed).await.unwrap()), expected);
    }

    #[tokio::test]
    async fn a_change_shares_what_it_does_not_touch() {
        let trie = trie();
        let large = state(&trie, (0..10_000).map(|key| entry(key, 1))).await;
        let mut new = NewNodes::default();
        let changed = trie.insert(large, entry(77, 2), &mut new).await.unwrap();
        assert_ne!(changed, large);
        assert!(new.rows().count() <= 5, "one path, not {} nodes", new.rows().count());
        let same = trie.insert(large, entry(77, 1), &mut NewNodes::default()).await.unwrap();
        assert_eq!(same, large);
        let found = trie.get(changed, "type2", "key77", &new).await.unwrap();
        assert_eq!(found, Some(event(2)));
        assert_eq!(trie.get(large, "type2", "key77", &new).await.unwrap(), Some(event(1)));
    }
}
