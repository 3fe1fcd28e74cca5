//! The connections: one request at a time each, and the versions of their state.
//!
//! A version is on disk before the `pos` that names it is answered. Kept are the one that the client
//! came with, or confirmed last, and those that it was given since and may not have received.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use storage::CommitError;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use super::{
    pos::{Pos, STATELESS, owner},
    request::SlidingBody,
    state::State,
    store::{self, ConnectionRecord, PutError},
};
use crate::{SyncError, Token, service::Inner};

/// Rooms, over all connections, of which it is kept in memory how much was told.
const ROOMS_KEPT: u64 = 500_000;

/// A connection that was not used for longer is forgotten, as Synapse does.
pub(crate) const UNUSED_DAYS_MAX: u64 = 7;

/// "Only one sliding sync connection is allowed per given `conn_id`", user and device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) conn_id: String,
}

impl Key {
    pub(crate) fn new(user: &UserId, device: &DeviceId, body: &SlidingBody) -> Self {
        let conn_id = body.conn_id.clone();
        Self { user: user.to_owned(), device: device.to_owned(), conn_id }
    }

    pub(crate) fn owner(&self) -> u64 {
        owner([self.user.as_str(), self.device.as_str(), &self.conn_id])
    }
}

#[derive(Debug)]
struct Row {
    written_ts: u64,
    used_day: u64,
    /// In order.
    versions: Vec<(u64, Arc<State>)>,
}

impl Row {
    fn version(&self, version: u64) -> Option<&Arc<State>> {
        self.versions.iter().find(|(other, _)| *other == version).map(|(_, state)| state)
    }

    fn newest(&self) -> u64 {
        self.versions.last().map_or(STATELESS, |(version, _)| *version)
    }

    fn record(&self) -> ConnectionRecord {
        let versions = self.versions.iter().map(|(version, state)| (*version, (&**state).into()));
        ConnectionRecord {
            written_ts: self.written_ts,
            used_day: self.used_day,
            versions: versions.collect(),
        }
    }
}

impl From<ConnectionRecord> for Row {
    fn from(record: ConnectionRecord) -> Self {
        let ConnectionRecord { written_ts, used_day, versions } = record;
        let versions = versions.into_iter();
        let versions = versions.map(|(version, state)| (version, Arc::new(state.into())));
        Self { written_ts, used_day, versions: versions.collect() }
    }
}

#[derive(Clone)]
struct RowWeight;

impl Weighter<Key, Arc<Row>> for RowWeight {
    fn weight(&self, _key: &Key, row: &Arc<Row>) -> u64 {
        row.versions.iter().map(|(_, state)| state.rooms.len() as u64).sum::<u64>() + 10
    }
}

/// Of the connections that are being served.
type Slots = Arc<Mutex<HashMap<Key, Arc<Slot>>>>;

pub(crate) struct Connections {
    slots: Slots,
    rows: Cache<Key, Arc<Row>, RowWeight>,
}

/// Where those meet who want to serve one connection.
struct Slot {
    turn: Arc<AsyncMutex<()>>,
    /// Number of the claim that came last.
    newest: watch::Sender<u64>,
    claims: AtomicUsize,
}

/// From where a request goes on.
pub(crate) struct Start {
    pub(crate) version: u64,
    pub(crate) state: Arc<State>,
    pub(crate) since: Option<Token>,
    /// What the lists counted, by [`counted`](super::pos::counted).
    pub(crate) lists: Option<u64>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        let expected = usize::try_from(ROOMS_KEPT / 100).unwrap_or(usize::MAX);
        let rows = Cache::with_weighter(expected, ROOMS_KEPT, RowWeight);
        Self { slots: Slots::default(), rows }
    }

    /// Puts the caller in the place of whoever has served the connection so far: a request that is
    /// waiting for changes ends for it, and so does a stream.
    pub(crate) fn claim(&self, key: &Key) -> Claim {
        let slot = {
            let mut slots = self.slots.lock();
            let slot = slots.entry(key.clone()).or_insert_with(|| {
                Arc::new(Slot {
                    turn: Arc::default(),
                    newest: watch::Sender::new(0),
                    claims: AtomicUsize::new(0),
                })
            });
            slot.claims.fetch_add(1, Ordering::AcqRel);
            Arc::clone(slot)
        };
        let mut number = 0;
        slot.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        Claim { slots: Arc::clone(&self.slots), key: key.clone(), slot, number }
    }

    async fn row(&self, sync: &Inner, key: &Key) -> Result<Option<Arc<Row>>, SyncError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(Some(row));
        }
        let Some(record) = store::get(&sync.sources.store, key).await? else { return Ok(None) };
        let row = Arc::new(Row::from(record));
        self.rows.insert(key.clone(), Arc::clone(&row));
        Ok(Some(row))
    }

    /// The row, if it is not too old to be used; from now on it was used today.
    async fn row_in_use(&self, sync: &Inner, key: &Key) -> Result<Option<Arc<Row>>, SyncError> {
        let Some(row) = self.row(sync, key).await? else { return Ok(None) };
        let today = store::day_of(sync.clock.now_ms());
        if row.used_day < today.saturating_sub(UNUSED_DAYS_MAX) {
            return Ok(None);
        }
        if row.used_day >= today {
            return Ok(Some(row));
        }
        let before = row.used_day;
        let row = Arc::new(Row { used_day: today, versions: row.versions.clone(), ..*row });
        match store::note_use(&sync.sources.store, key, &row.record(), before) {
            Ok(()) | Err(CommitError::LowSpace) => (),
            Err(error) => return Err(SyncError::Internal(error.to_string())),
        }
        self.rows.insert(key.clone(), Arc::clone(&row));
        Ok(Some(row))
    }

    /// Deletes a row that nobody is served by, and that was last used on that day.
    pub(crate) async fn expire(
        &self,
        sync: &Inner,
        key: &Key,
        used_day: u64,
    ) -> Result<(), SyncError> {
        let claimed = self.slots.lock().contains_key(key);
        if claimed {
            // A stream that had nothing to say for all that time.
            drop(self.row_in_use(sync, key).await?);
            return Ok(());
        }
        self.forget(sync, key, used_day)
    }

    /// Deletes a row.
    pub(crate) fn forget(&self, sync: &Inner, key: &Key, used_day: u64) -> Result<(), SyncError> {
        self.rows.remove(key);
        match store::delete(&sync.sources.store, key, used_day) {
            Ok(_pending) => Ok(()),
            // There will be another round.
            Err(CommitError::LowSpace) => Ok(()),
            Err(error) => Err(SyncError::Internal(error.to_string())),
        }
    }

    pub(crate) async fn resume(
        &self,
        sync: &Inner,
        key: &Key,
        pos: Option<&str>,
    ) -> Result<Start, SyncError> {
        let pos = pos.map(Pos::parse).transpose()?;
        self.resume_at(sync, key, pos).await
    }

    pub(crate) async fn resume_at(
        &self,
        sync: &Inner,
        key: &Key,
        pos: Option<Pos>,
    ) -> Result<Start, SyncError> {
        let Some(Pos { version, owner, lists, token }) = pos else {
            let state = Arc::default();
            return Ok(Start { version: STATELESS, state, since: None, lists: None });
        };
        let store = &sync.sources.store;
        let is_of_now =
            token.incarnation == store.incarnation() && token.durable <= store.log().position();
        if owner != key.owner() || !is_of_now {
            return Err(SyncError::UnknownPos);
        }
        let state = if version == STATELESS {
            Arc::default()
        } else {
            let row = self.row_in_use(sync, key).await?;
            let state = row.as_ref().and_then(|row| row.version(version));
            Arc::clone(state.ok_or(SyncError::UnknownPos)?)
        };
        Ok(Start { version, state, since: Some(token), lists })
    }

    /// Makes a new version of the state, and returns its number once it is durable. Of the others
    /// only those in `kept` stay, which are in order.
    pub(crate) async fn keep(
        &self,
        sync: &Inner,
        key: &Key,
        kept: &[u64],
        state: State,
    ) -> Result<u64, SyncError> {
        let old = self.row(sync, key).await?;
        let now = sync.clock.now_ms();
        // Never a number that was used, even if the row was deleted in between.
        let newest = old.as_ref().map_or(STATELESS, |row| row.newest());
        let version = kept.last().map_or(newest, |last| newest.max(*last)) + 1;
        let version = version.max(now);
        let mut versions: Vec<_> = old.iter().flat_map(|row| row.versions.clone()).collect();
        versions.retain(|(version, _)| kept.contains(version));
        versions.push((version, Arc::new(state)));
        let row = Row { written_ts: now, used_day: store::day_of(now), versions };
        let used_before = old.as_ref().map(|old| old.used_day);
        match store::put(&sync.sources.store, key, &row.record(), used_before).await {
            Ok(gone) => gone.iter().for_each(|gone| drop(self.rows.remove(gone))),
            // Reads go on where the disk is nearly full: until the restart memory will do.
            Err(PutError::Commit(CommitError::LowSpace)) => (),
            Err(PutError::Commit(error)) => return Err(SyncError::Internal(error.to_string())),
            Err(PutError::Read(error)) => return Err(error.into()),
        }
        self.rows.insert(key.clone(), Arc::new(row));
        Ok(version)
    }
}

/// The right to serve a connection, until somebody else claims it.
pub(crate) struct Claim {
    slots: Slots,
    key: Key,
    slot: Arc<Slot>,
    number: u64,
}

/// While it lives, nobody else reads or writes the connection's state.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Claim {
    /// Waits for those who are at work on the connection. A turn ends before its claim.
    pub(crate) async fn turn(&self) -> Turn {
        Arc::clone(&self.slot.turn).lock_owned().await
    }

    pub(crate) fn is_superseded(&self) -> bool {
        *self.slot.newest.borrow() != self.number
    }

    /// Resolves when there is another claim.
    pub(crate) async fn superseded(&self) {
        let mut newest = self.slot.newest.subscribe();
        // The sender lives as long as `self`.
        let _closed = newest.wait_for(|newest| *newest != self.number).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.slots.lock();
        if self.slot.claims.fetch_sub(1, Ordering::AcqRel) == 1 {
            slots.remove(&self.key);
        }
    }
}
