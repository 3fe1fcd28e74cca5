//! The connections: one request at a time each, and the versions of their state.
//!
//! A version is on disk before the `pos` that names it is answered. Two are kept: the one that the
//! client came with, and the one that it was given last and may not have received.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedDeviceId, OwnedUserId};
use storage::CommitError;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use super::{
    pos::{Pos, STATELESS, owner},
    state::State,
    store::{self, ConnectionRecord, PutError},
};
use crate::{SyncError, Token, service::Inner};

/// Rooms, over all connections, of which it is kept in memory how much was told.
const ROOMS_KEPT: u64 = 500_000;

/// "Only one sliding sync connection is allowed per given `conn_id`", user and device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) conn_id: String,
}

impl Key {
    pub(crate) fn owner(&self) -> u64 {
        owner([self.user.as_str(), self.device.as_str(), &self.conn_id])
    }
}

#[derive(Debug)]
struct Row {
    /// Older first.
    versions: Vec<(u64, Arc<State>)>,
}

impl Row {
    fn version(&self, version: u64) -> Option<&Arc<State>> {
        self.versions.iter().find(|(other, _)| *other == version).map(|(_, state)| state)
    }

    fn newest(&self) -> u64 {
        self.versions.last().map_or(STATELESS, |(version, _)| *version)
    }
}

#[derive(Clone)]
struct RowWeight;

impl Weighter<Key, Arc<Row>> for RowWeight {
    fn weight(&self, _key: &Key, row: &Arc<Row>) -> u64 {
        row.versions.iter().map(|(_, state)| state.rooms.len() as u64).sum::<u64>() + 10
    }
}

pub(crate) struct Connections {
    /// Of the connections that are being served.
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    rows: Cache<Key, Arc<Row>, RowWeight>,
}

/// Where the requests of one connection meet.
struct Slot {
    turn: Arc<AsyncMutex<()>>,
    /// Number of the request that came last.
    newest: watch::Sender<u64>,
    requests: AtomicUsize,
}

/// From where a request goes on.
pub(crate) struct Start {
    pub(crate) version: u64,
    pub(crate) state: Arc<State>,
    pub(crate) since: Option<Token>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        let expected = usize::try_from(ROOMS_KEPT / 100).unwrap_or(usize::MAX);
        let rows = Cache::with_weighter(expected, ROOMS_KEPT, RowWeight);
        Self { slots: Mutex::default(), rows }
    }

    /// Waits for the connection's turn; a request that is waiting for changes ends for it.
    pub(crate) async fn enter(&self, key: &Key) -> Turn<'_> {
        let slot = {
            let mut slots = self.slots.lock();
            let slot = slots.entry(key.clone()).or_insert_with(|| {
                Arc::new(Slot {
                    turn: Arc::default(),
                    newest: watch::Sender::new(0),
                    requests: AtomicUsize::new(0),
                })
            });
            slot.requests.fetch_add(1, Ordering::AcqRel);
            Arc::clone(slot)
        };
        let mut number = 0;
        slot.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let lock = Arc::clone(&slot.turn).lock_owned();
        let mut turn = Turn { connections: self, key: key.clone(), slot, number, lock: None };
        turn.lock = Some(lock.await);
        turn
    }

    async fn row(&self, sync: &Inner, key: &Key) -> Result<Option<Arc<Row>>, SyncError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(Some(row));
        }
        let Some(record) = store::get(&sync.sources.store, key).await? else { return Ok(None) };
        let versions = record.versions.into_iter();
        let versions = versions.map(|(version, state)| (version, Arc::new(state.into())));
        let row = Arc::new(Row { versions: versions.collect() });
        self.rows.insert(key.clone(), Arc::clone(&row));
        Ok(Some(row))
    }

    pub(crate) async fn resume(
        &self,
        sync: &Inner,
        key: &Key,
        pos: Option<&str>,
    ) -> Result<Start, SyncError> {
        let Some(pos) = pos else {
            return Ok(Start { version: STATELESS, state: Arc::default(), since: None });
        };
        let Pos { version, owner, token } = Pos::parse(pos)?;
        let store = &sync.sources.store;
        let is_of_now =
            token.incarnation == store.incarnation() && token.durable <= store.log().position();
        if owner != key.owner() || !is_of_now {
            return Err(SyncError::UnknownPos);
        }
        let state = if version == STATELESS {
            Arc::default()
        } else {
            let row = self.row(sync, key).await?;
            let state = row.as_ref().and_then(|row| row.version(version));
            Arc::clone(state.ok_or(SyncError::UnknownPos)?)
        };
        Ok(Start { version, state, since: Some(token) })
    }

    /// Makes a new version of the state, and returns its number once it is durable.
    pub(crate) async fn keep(
        &self,
        sync: &Inner,
        key: &Key,
        start: &Start,
        state: State,
    ) -> Result<u64, SyncError> {
        let old = self.row(sync, key).await?;
        let now = sync.clock.now_ms();
        // Never a number that was used, even if the row was deleted in between.
        let version = old.as_ref().map_or(STATELESS, |row| row.newest()).max(start.version) + 1;
        let version = version.max(now);
        let mut versions = vec![(version, Arc::new(state))];
        if start.version != STATELESS {
            versions.insert(0, (start.version, Arc::clone(&start.state)));
        }
        let record = ConnectionRecord {
            written_ts: now,
            versions: versions
                .iter()
                .map(|(version, state)| (*version, (&**state).into()))
                .collect(),
        };
        match store::put(&sync.sources.store, key, &record, old.is_none()).await {
            // Reads go on where the disk is nearly full: until the restart memory will do.
            Ok(()) | Err(PutError::Commit(CommitError::LowSpace)) => (),
            Err(PutError::Commit(error)) => return Err(SyncError::Internal(error.to_string())),
            Err(PutError::Read(error)) => return Err(error.into()),
        }
        self.rows.insert(key.clone(), Arc::new(Row { versions }));
        Ok(version)
    }
}

/// The right to serve a connection: there is one at a time.
pub(crate) struct Turn<'a> {
    connections: &'a Connections,
    key: Key,
    slot: Arc<Slot>,
    number: u64,
    lock: Option<OwnedMutexGuard<()>>,
}

impl Turn<'_> {
    /// Resolves when another request of the connection has come.
    pub(crate) async fn superseded(&self) {
        let mut newest = self.slot.newest.subscribe();
        // The sender lives as long as `self`.
        let _closed = newest.wait_for(|newest| *newest != self.number).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lock = None;
        let mut slots = self.connections.slots.lock();
        if self.slot.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            slots.remove(&self.key);
        }
    }
}
