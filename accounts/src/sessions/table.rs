//! The session table in memory.
//!
//! A row is only written under the session's lock and while the session lives, so that no write
//! brings back a session whose end has been submitted.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use ruma::{DeviceId, OwnedUserId, UserId};
use sha2::{Digest, Sha256};
use storage::Pending;
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

use super::{ActAs, Appservice, FIRST_UNSTORED_ID, Session, SessionId, TokenError};
use crate::{
    User,
    store::{AccountStore, SessionRecord, StoreError},
};

const SHARDS: usize = 16;
/// Sessions of application services; the oldest end beyond that, and are made anew when needed.
const ACTING_MAX: usize = 100_000;

#[derive(Debug)]
struct State {
    record: SessionRecord,
    ended: bool,
    /// Of the last access token whose signature was checked: checking costs more than the request.
    verified: Option<[u8; 32]>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    id: u64,
    pub(super) user: User,
    admin: AtomicBool,
    locked: AtomicBool,
    suspended: AtomicBool,
    appservice: Option<Appservice>,
    state: Mutex<State>,
    end: Notify,
}

pub(super) enum Refreshed {
    /// `submitted`: `None` if this pair was handed out before.
    Pair {
        generation: u32,
        expires_at: u64,
        submitted: Option<Pending>,
    },
    Reused,
    Unknown,
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Entry {
    pub(super) fn new(id: u64, user: User, record: SessionRecord) -> Arc<Self> {
        Self::of(id, user, record, None)
    }

    pub(super) fn acting(
        id: u64,
        user: User,
        record: SessionRecord,
        appservice: Appservice,
    ) -> Arc<Self> {
        Self::of(id, user, record, Some(appservice))
    }

    fn of(id: u64, user: User, record: SessionRecord, appservice: Option<Appservice>) -> Arc<Self> {
        let admin = AtomicBool::new(user.admin);
        let locked = AtomicBool::new(user.locked);
        let suspended = AtomicBool::new(user.suspended);
        let state = Mutex::new(State { record, ended: false, verified: None });
        let end = Notify::new();
        Arc::new(Self { id, user, admin, locked, suspended, appservice, state, end })
    }

    pub(super) fn session(&self, expires_at: Option<u64>) -> Session {
        Session {
            id: SessionId(self.id),
            user_id: self.user.user_id.clone(),
            device_id: self.state.lock().record.device_id.clone(),
            guest: self.user.guest,
            admin: self.admin.load(Ordering::Relaxed),
            locked: self.is_locked(),
            expires_at,
            appservice: self.appservice.clone(),
        }
    }

    pub(super) fn has_verified(&self, token: &str) -> bool {
        let digest = digest(token);
        self.state.lock().verified.is_some_and(|verified| verified.ct_eq(&digest).into())
    }

    pub(super) fn set_verified(&self, token: &str) {
        self.state.lock().verified = Some(digest(token));
    }

    /// An access token of `generation` is used: the first use of the next pair makes it current.
    pub(super) fn use_generation(
        &self,
        generation: u32,
        write: impl FnOnce(&SessionRecord),
    ) -> Result<(), TokenError> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(TokenError::Unknown);
        }
        if generation == state.record.generation {
            return Ok(());
        }
        if state.is_next(generation) {
            state.record.generation = generation;
            state.record.next_expires_at = None;
            write(&state.record);
            return Ok(());
        }
        // Of a pair that was replaced; the client has or can get the newer one.
        if generation < state.record.generation {
            return Err(TokenError::Expired);
        }
        Err(TokenError::Unknown)
    }

    pub(super) fn refresh(
        &self,
        generation: u32,
        now: u64,
        lifetime: u64,
        write: impl FnOnce(&SessionRecord) -> Result<Pending, StoreError>,
    ) -> Result<Refreshed, StoreError> {
        let mut state = self.state.lock();
        if state.ended || !state.record.refreshable {
            return Ok(Refreshed::Unknown);
        }
        if state.is_next(generation) {
            state.record.generation = generation;
            state.record.next_expires_at = None;
        }
        if generation < state.record.generation {
            return Ok(Refreshed::Reused);
        }
        if generation > state.record.generation {
            return Ok(Refreshed::Unknown);
        }
        let next = generation.saturating_add(1);
        // A repeated request gets the pair that its first answer had, unless that was so long ago
        // that the access token would be of little use.
        if let Some(expires_at) = state.record.next_expires_at
            && expires_at.saturating_sub(now) > lifetime / 2
        {
            return Ok(Refreshed::Pair { generation: next, expires_at, submitted: None });
        }
        let expires_at = now.saturating_add(lifetime);
        state.record.next_expires_at = Some(expires_at);
        let submitted = Some(write(&state.record)?);
        Ok(Refreshed::Pair { generation: next, expires_at, submitted })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::Release);
        if locked {
            self.end.notify_waiters();
        }
    }

    fn set_ended(&self) {
        self.state.lock().ended = true;
        self.end.notify_waiters();
    }

    pub(super) async fn ended(&self) {
        let mut notified = std::pin::pin!(self.end.notified());
        // Registered before the look, so that an end in between is not missed.
        notified.as_mut().enable();
        if !self.is_ended() && !self.is_locked() {
            notified.await;
        }
    }
}

impl State {
    fn is_next(&self, generation: u32) -> bool {
        self.record.next_expires_at.is_some()
            && self.record.generation.checked_add(1) == Some(generation)
    }
}

/// Every session there is.
#[derive(Debug)]
pub(crate) struct SessionTable {
    shards: Vec<RwLock<HashMap<u64, Arc<Entry>>>>,
    by_user: Mutex<HashMap<OwnedUserId, Vec<Arc<Entry>>>>,
    /// Those without a row, oldest first; some have ended.
    acting: Mutex<VecDeque<u64>>,
    pub(super) next_unstored: AtomicU64,
}

impl SessionTable {
    pub(crate) async fn load(store: &AccountStore) -> Result<Self, StoreError> {
        let mut rows = Vec::new();
        store.all_sessions(|id, user_id, record| rows.push((id, user_id, record))).await?;
        let table = Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            by_user: Mutex::default(),
            acting: Mutex::default(),
            next_unstored: AtomicU64::new(FIRST_UNSTORED_ID),
        };
        let mut users: HashMap<OwnedUserId, User> = HashMap::new();
        for (id, user_id, record) in rows {
            let user = match users.get(&user_id) {
                Some(user) => user.clone(),
                None => {
                    let Some(user) = store.user(&user_id).await? else { continue };
                    let user = User::new(&user_id, &user);
                    users.insert(user_id, user.clone());
                    user
                }
            };
            if !user.deactivated {
                table.insert(&Entry::new(id, user, record));
            }
        }
        Ok(table)
    }

    fn shard(&self, id: u64) -> &RwLock<HashMap<u64, Arc<Entry>>> {
        &self.shards[id as usize % SHARDS]
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Entry>> {
        self.shard(id).read().get(&id).map(Arc::clone)
    }

    pub(super) fn insert(&self, entry: &Arc<Entry>) {
        self.shard(entry.id).write().insert(entry.id, Arc::clone(entry));
        let mut by_user = self.by_user.lock();
        by_user.entry(entry.user.user_id.clone()).or_default().push(Arc::clone(entry));
    }

    pub(super) fn insert_acting(&self, entry: &Arc<Entry>) {
        self.insert(entry);
        let oldest = {
            let mut acting = self.acting.lock();
            acting.push_back(entry.id);
            if acting.len() > ACTING_MAX { acting.pop_front() } else { None }
        };
        if let Some(oldest) = oldest {
            self.end(oldest);
        }
    }

    pub(super) fn acting(&self, acting: &ActAs<'_>, device_id: &DeviceId) -> Option<Arc<Entry>> {
        let by_user = self.by_user.lock();
        let is_it = |entry: &&Arc<Entry>| {
            entry.appservice.as_ref() == Some(acting.appservice)
                && entry.state.lock().record.device_id == device_id
        };
        by_user.get(acting.user_id)?.iter().find(is_it).map(Arc::clone)
    }

    pub(super) fn end(&self, id: u64) -> Option<Arc<Entry>> {
        let entry = self.get(id)?;
        self.end_where(&entry.user.user_id, |entry| entry.id == id);
        Some(entry)
    }

    /// The ids of the sessions that end.
    pub(super) fn end_device(&self, user_id: &UserId, device_id: &DeviceId) -> Vec<u64> {
        self.end_where(user_id, |entry| entry.state.lock().record.device_id == device_id)
    }

    pub(crate) fn end_all(&self, user_id: &UserId, except: Option<u64>) -> Vec<u64> {
        self.end_where(user_id, |entry| Some(entry.id) != except)
    }

    fn end_where(&self, user_id: &UserId, ends: impl Fn(&Entry) -> bool) -> Vec<u64> {
        let mut by_user = self.by_user.lock();
        let Some(entries) = by_user.get_mut(user_id) else { return Vec::new() };
        let mut ended = Vec::new();
        entries.retain(|entry| {
            if !ends(entry) {
                return true;
            }
            entry.set_ended();
            self.shard(entry.id).write().remove(&entry.id);
            ended.push(entry.id);
            false
        });
        if entries.is_empty() {
            by_user.remove(user_id);
        }
        ended
    }

    pub(crate) fn set_restrictions(&self, user_id: &UserId, locked: bool, suspended: bool) {
        let by_user = self.by_user.lock();
        for entry in by_user.get(user_id).into_iter().flatten() {
            entry.suspended.store(suspended, Ordering::Relaxed);
            entry.set_locked(locked);
        }
    }

    pub(crate) fn set_admin(&self, user_id: &UserId, admin: bool) {
        let by_user = self.by_user.lock();
        for entry in by_user.get(user_id).into_iter().flatten() {
            entry.admin.store(admin, Ordering::Relaxed);
        }
    }
}
