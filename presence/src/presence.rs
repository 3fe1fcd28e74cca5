//! The handle that other crates hold.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use ruma::{DeviceId, OwnedUserId, UserId, presence::PresenceState};
use stdx::{SharedClock, Tasks};
use storage::Store;
use tokio::{sync::broadcast, time::MissedTickBehavior};

use crate::{
    changes::{ChangeLogGap, Changes, PresenceChange},
    config::Config,
    device::{Device, State, millis},
    remote::Remotes,
    store::{LastSeen, LastSeenStore, StoreError},
    timers::Wheel,
    user::{User, UserPresence},
};

/// Users are spread so that two heartbeats rarely meet.
const SHARDS: usize = 64;
const STATUS_BYTES_MAX: usize = 1024;
const TICK: Duration = Duration::from_secs(1);

/// The presence of local users, and what other servers say of theirs. Cheap to clone.
#[derive(Clone)]
pub struct Presence {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    store: LastSeenStore,
    pub(crate) changes: Changes,
    pub(crate) remotes: Remotes,
    hasher: RandomState,
    shards: Vec<Shard>,
}

struct Shard {
    users: RwLock<HashMap<OwnedUserId, Arc<User>>>,
    wheel: Mutex<Wheel>,
}

#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    #[error("the presence is not one of online, unavailable and offline")]
    InvalidState,
    #[error("the status message is longer than {STATUS_BYTES_MAX} bytes")]
    StatusTooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An open sync or socket of a device. Its end starts the grace time.
#[must_use = "the device counts as syncing until this is dropped"]
pub struct SyncGuard(Option<OpenSync>);

struct OpenSync {
    inner: Arc<Inner>,
    user: Arc<User>,
    device: Arc<Device>,
}

impl std::fmt::Debug for SyncGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SyncGuard").field(&self.0.as_ref().map(|open| &open.user.id)).finish()
    }
}

impl Drop for SyncGuard {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            let now = open.inner.clock.now_ms();
            open.device.sync_closed(now);
            if let Some(deadline) = open.device.deadline(now, &open.inner.config) {
                open.inner.schedule(&open.user, deadline);
            }
        }
    }
}

impl Presence {
    /// Spawns the task of the timers.
    pub fn new(config: Config, clock: SharedClock, tasks: &Tasks, store: Store) -> Self {
        let now = clock.now_ms();
        let shard = |_| Shard { users: RwLock::default(), wheel: Mutex::new(Wheel::new(now)) };
        let presence = Self {
            inner: Arc::new(Inner {
                changes: Changes::new(config.changes_kept),
                remotes: Remotes::default(),
                config,
                clock,
                store: LastSeenStore(store),
                hasher: RandomState::new(),
                shards: (0..SHARDS).map(shard).collect(),
            }),
        };
        tasks.spawn_until_stopped("presence timers", presence.clone().run_timers());
        presence
    }

    async fn run_timers(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.tick(self.inner.clock.now_ms());
        }
    }

    /// A sync or a socket opens. `Offline` leaves the presence alone.
    pub async fn syncing(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        set_presence: &PresenceState,
    ) -> SyncGuard {
        let wanted = State::parse(set_presence).unwrap_or(State::Offline);
        if !self.inner.config.enabled || wanted == State::Offline {
            return SyncGuard(None);
        }
        let now = self.inner.clock.now_ms();
        let guard = self.inner.with_user(user_id, |user| {
            let device = user.touch_or_add_device(device_id, wanted, |device| {
                device.sync_opened(wanted, now);
                Arc::clone(device)
            });
            SyncGuard(Some(OpenSync {
                inner: Arc::clone(&self.inner),
                user: Arc::clone(user),
                device,
            }))
        });
        if let Some(open) = &guard.0 {
            self.inner.load(&open.user).await;
            self.inner.refresh(&open.user, now);
        }
        guard
    }

    /// A sign of life: a ping, a poll, a `presence` frame. Touches atomics; no store write. Not to
    /// be called for a socket that opted out with `set_presence=offline`.
    pub fn heartbeat(&self, user_id: &UserId, device_id: &DeviceId, active: bool) {
        let inner = &self.inner;
        if !inner.config.enabled {
            return;
        }
        let now = inner.clock.now_ms();
        let wanted = if active { State::Online } else { State::Unavailable };
        let changed = inner.with_user(user_id, |user| {
            let counted = user.touch_or_add_device(device_id, wanted, |device| {
                device.heartbeat(active, now, &inner.config)
            });
            let news = counted && !(active && user.told_active.load(Relaxed));
            news.then(|| Arc::clone(user))
        });
        if let Some(user) = changed {
            inner.refresh(&user, now);
        }
    }

    /// The user sets their presence by hand. `status_msg`: `None` removes it.
    pub async fn set(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        presence: &PresenceState,
        status_msg: Option<&str>,
    ) -> Result<(), PresenceError> {
        let wanted = State::parse(presence).ok_or(PresenceError::InvalidState)?;
        if status_msg.is_some_and(|status| status.len() > STATUS_BYTES_MAX) {
            return Err(PresenceError::StatusTooLong);
        }
        let inner = &self.inner;
        if !inner.config.enabled {
            return Ok(());
        }
        let now = inner.clock.now_ms();
        let status_msg: Option<Arc<str>> =
            status_msg.filter(|status| !status.is_empty()).map(Arc::from);
        let last_active_ts = match wanted {
            State::Online => Some(now),
            State::Unavailable | State::Offline => self.get(user_id).await?.last_active_ts,
        };
        let seen = LastSeen { last_active_ts, status_msg: status_msg.clone() };
        inner.store.write(user_id, &seen).await?;
        let user = inner.with_user(user_id, |user| {
            user.touch_or_add_device(device_id, wanted, |device| device.set(wanted, now));
            user.active(last_active_ts.unwrap_or(0));
            user.loaded.store(true, Relaxed);
            Arc::clone(user)
        });
        inner.refresh_with(&user, now, Some(status_msg));
        Ok(())
    }

    /// The device sent a message: activity, and last-seen is written (without waiting).
    pub fn event_sent(&self, user_id: &UserId, device_id: &DeviceId) {
        let inner = &self.inner;
        if !inner.config.enabled {
            return;
        }
        let now = inner.clock.now_ms();
        let shard = inner.shard(user_id);
        let Some(user) = shard.users.read().get(user_id).map(|user| {
            user.active(now);
            // Who is offline stays so: sending does not say that one may be reached.
            user.touch_device(device_id, |device| device.event_sent(now));
            Arc::clone(user)
        }) else {
            return;
        };
        if !user.told_active.load(Relaxed) {
            inner.refresh(&user, now);
        }
        let written = user.seen_written.load(Relaxed);
        if now >= written.saturating_add(millis(inner.config.active_for))
            && user.seen_written.compare_exchange(written, now, Relaxed, Relaxed).is_ok()
            && user.loaded.load(Relaxed)
        {
            let status_msg = user.told.lock().status_msg.clone();
            inner.store.write_later(user_id, &LastSeen { last_active_ts: Some(now), status_msg });
        }
    }

    /// From memory, or when last seen from the store.
    pub async fn get(&self, user_id: &UserId) -> Result<UserPresence, StoreError> {
        if let Some(remote) = self.inner.remotes.get(user_id) {
            return Ok(remote);
        }
        let user = self.inner.shard(user_id).users.read().get(user_id).map(Arc::clone);
        if let Some(user) = user {
            self.inner.load(&user).await;
            return Ok(self.inner.current(&user));
        }
        let mut presence = UserPresence::offline();
        if self.inner.config.enabled
            && let Some(seen) = self.inner.store.read(user_id).await?
        {
            presence.last_active_ts = seen.last_active_ts;
            presence.status_msg = seen.status_msg;
        }
        Ok(presence)
    }

    /// From memory: `None` for who is offline and gone from it.
    pub fn get_cached(&self, user_id: &UserId) -> Option<UserPresence> {
        if let Some(remote) = self.inner.remotes.get(user_id) {
            return Some(remote);
        }
        let user = self.inner.shard(user_id).users.read().get(user_id).map(Arc::clone)?;
        Some(self.inner.current(&user))
    }

    /// Of the last change.
    pub fn sequence(&self) -> u64 {
        self.inner.changes.sequence()
    }

    /// Each change as it happens. A reader that lags asks [`changed_since`](Self::changed_since).
    pub fn changes(&self) -> broadcast::Receiver<PresenceChange> {
        self.inner.changes.subscribe()
    }

    /// Who changed after `sequence`, once each, with what they were told to be; oldest first.
    pub fn changed_since(
        &self,
        sequence: u64,
    ) -> Result<Vec<(OwnedUserId, UserPresence)>, ChangeLogGap> {
        self.inner.changes.since(sequence)
    }

    /// Lets the timers up to now fire. A task does it every second; a test calls it.
    pub fn tick(&self, now_ms: u64) {
        self.inner.remotes.expire(now_ms, &self.inner.changes);
        let mut due = Vec::new();
        for shard in &self.inner.shards {
            shard.wheel.lock().advance(now_ms, &mut due);
            for user in due.drain(..) {
                self.inner.refresh(&user, now_ms);
            }
        }
    }
}

impl Inner {
    fn shard(&self, user_id: &UserId) -> &Shard {
        &self.shards[self.hasher.hash_one(user_id) as usize % SHARDS]
    }

    /// Touches a user, who is created if need be. Users are only removed under the write lock and
    /// if no device of theirs is alive, so what `touch` revives stays.
    fn with_user<T>(&self, user_id: &UserId, touch: impl Fn(&Arc<User>) -> T) -> T {
        let shard = self.shard(user_id);
        {
            let users = shard.users.read();
            if let Some(user) = users.get(user_id) {
                return touch(user);
            }
        }
        let mut users = shard.users.write();
        let user = users.entry(user_id.to_owned()).or_insert_with(|| Arc::new(User::new(user_id)));
        touch(user)
    }

    /// Gives a user who is new in memory what the store knows of them.
    async fn load(&self, user: &Arc<User>) {
        if user.loaded.load(Relaxed) {
            return;
        }
        match self.store.read(&user.id).await {
            Ok(seen) => {
                let mut told = user.told.lock();
                if !user.loaded.swap(true, Relaxed)
                    && let Some(seen) = seen
                {
                    user.active(seen.last_active_ts.unwrap_or(0));
                    told.last_active_ts = seen.last_active_ts;
                    told.status_msg = seen.status_msg;
                }
            }
            Err(error) => tracing::warn!(%error, "last seen cannot be read"),
        }
    }

    fn current(&self, user: &User) -> UserPresence {
        let status_msg = user.told.lock().status_msg.clone();
        user.current(status_msg, self.clock.now_ms(), &self.config)
    }

    fn schedule(&self, user: &Arc<User>, deadline: u64) {
        self.shard(&user.id).wheel.lock().schedule(user, deadline);
    }

    fn refresh(&self, user: &Arc<User>, now: u64) {
        self.refresh_with(user, now, None);
    }

    /// Works out what the user is now, tells it if it is news, and sets the next timer.
    fn refresh_with(&self, user: &Arc<User>, now: u64, status_msg: Option<Option<Arc<str>>>) {
        user.forget_dead_devices(now, &self.config);
        let mut told = user.told.lock();
        let status_msg = status_msg.unwrap_or_else(|| told.status_msg.clone());
        let current = user.current(status_msg, now, &self.config);
        let deadline = user.deadline(&current, now, &self.config);
        let offline = current.presence == PresenceState::Offline;
        let went_offline = offline && told.presence != PresenceState::Offline;
        user.told_active.store(current.currently_active, Relaxed);
        if current.is_news_after(&told, &self.config) {
            *told = current;
            // Under the user's lock, so that the log has the order in which they changed.
            self.changes.push(&user.id, told.clone());
        }
        let told = told.clone();
        if let Some(deadline) = deadline {
            self.schedule(user, deadline);
        }
        if went_offline && user.loaded.load(Relaxed) {
            let seen =
                LastSeen { last_active_ts: told.last_active_ts, status_msg: told.status_msg };
            self.store.write_later(&user.id, &seen);
        }
        if offline && deadline.is_none() {
            self.forget(user, now);
        }
    }

    fn forget(&self, user: &Arc<User>, now: u64) {
        let mut users = self.shard(&user.id).users.write();
        if users.get(&user.id).is_some_and(|kept| Arc::ptr_eq(kept, user))
            && !user.has_living_device(now, &self.config)
        {
            users.remove(&user.id);
        }
    }
}
