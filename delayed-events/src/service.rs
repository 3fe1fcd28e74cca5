//! Scheduling, and what may be done with what is scheduled.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use accounts::Accounts;
use parking_lot::Mutex;
use rooms::Rooms;
use ruma::{DeviceId, OwnedEventId, OwnedRoomId, RoomId, TransactionId, UserId};
use serde_json::value::RawValue;
use stdx::{Rng, SharedClock};
use storage::Store;
use tokio::sync::Notify;

use crate::{
    Error, Failure,
    store::{DelayedRecord, DelayedStore, Due, Ended},
};

/// An event has at most 64 KiB.
const CONTENT_BYTES_MAX: usize = 65_536;
const TYPE_BYTES_MAX: usize = 255;
/// Those that are over of which a user is told, and for how long.
const ENDED_MAX: usize = 100;
const ENDED_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Changes of one user's delayed events pass one lock; users share this many.
const LOCKS: usize = 64;
const ID_CHARS: usize = 22;

#[derive(Clone, Debug)]
pub struct Config {
    pub delay_max: Duration,
    /// Of one user at a time.
    pub scheduled_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay_max: Duration::from_secs(24 * 60 * 60), scheduled_max: 100 }
    }
}

/// What it stands on.
#[derive(Clone)]
pub struct Pieces {
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub rooms: Rooms,
    pub accounts: Accounts,
}

/// The delayed events of all local users. Cheap to clone.
#[derive(Clone)]
pub struct DelayedEvents {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: DelayedStore,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) timers: Mutex<Timers>,
    /// Something is due earlier than what the timer waits for.
    pub(crate) sooner: Notify,
    hasher: RandomState,
    locks: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
pub(crate) struct Timers {
    pub(crate) due: BTreeSet<Due>,
    /// Ids of those that are being sent: it is too late to take them back.
    pub(crate) sending: HashSet<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct NewDelayedEvent<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub event_type: &'a str,
    /// Makes it a state event.
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub delay: Duration,
    /// The same transaction schedules once.
    pub txn: Option<(&'a DeviceId, &'a TransactionId)>,
    /// `origin_server_ts` in milliseconds, for those who may choose it.
    pub timestamp: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedEvent {
    pub delay_id: String,
    pub room_id: OwnedRoomId,
    pub event_type: String,
    pub state_key: Option<String>,
    /// JSON text.
    pub content: String,
    pub delay_ms: u64,
    /// When it was scheduled or restarted last, in milliseconds.
    pub scheduled_at: u64,
    /// What became of it, and when, in milliseconds.
    pub outcome: Option<(u64, Outcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent(OwnedEventId),
    Cancelled,
    Failed { failure: Failure, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Send,
    Cancel,
    Restart,
}

impl DelayedEvent {
    fn new(delay_id: String, record: DelayedRecord) -> Self {
        let outcome = |ended| match ended {
            // Nothing else is stored.
            Ended::Sent(id) => OwnedEventId::try_from(id).map_or(Outcome::Cancelled, Outcome::Sent),
            Ended::Cancelled => Outcome::Cancelled,
            Ended::Failed(failure, reason) => Outcome::Failed { failure, reason },
        };
        Self {
            delay_id,
            room_id: record.room_id,
            event_type: record.event_type,
            state_key: record.state_key,
            content: record.content,
            delay_ms: record.delay_ms,
            scheduled_at: record.scheduled_at,
            outcome: record.ended.map(|(at, ended)| (at, outcome(ended))),
        }
    }
}

impl DelayedEvents {
    /// Knows what is scheduled; nothing is sent until somebody runs [`run`](Self::run).
    pub async fn open(config: Config, pieces: Pieces) -> Result<Self, Error> {
        let Pieces { store, clock, rng, rooms, accounts } = pieces;
        let store = DelayedStore(store);
        let due = store.due().await?.into_iter().collect();
        let timers = Mutex::new(Timers { due, sending: HashSet::new() });
        let inner = Inner {
            config,
            store,
            clock,
            rng,
            rooms,
            accounts,
            timers,
            sooner: Notify::new(),
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The id of the delayed event. Durable on return.
    pub async fn schedule(&self, new: NewDelayedEvent<'_>) -> Result<String, Error> {
        let inner = &*self.inner;
        inner.check(&new)?;
        let sender = new.sender;
        let txn = new.txn.map(|(device, txn)| (device.as_str(), txn.as_str()));
        let (pending, due) = {
            let _lock = inner.lock(sender).await;
            if let Some(txn) = txn
                && let Some(before) = inner.store.by_txn(sender, new.room_id.as_str(), txn).await?
            {
                inner.store.0.barrier().wait().await?;
                return Ok(before);
            }
            let all = inner.store.all(sender).await?;
            let now = inner.clock.now_ms();
            inner.check_number(&all, now)?;
            let delay_ms = u64::try_from(new.delay.as_millis()).unwrap_or(u64::MAX);
            let record = DelayedRecord {
                room_id: new.room_id.to_owned(),
                event_type: new.event_type.to_owned(),
                state_key: new.state_key.map(str::to_owned),
                content: new.content.get().to_owned(),
                delay_ms,
                scheduled_at: now,
                timestamp: new.timestamp,
                txn: txn.map(|(device, txn)| (device.to_owned(), txn.to_owned())),
                ended: None,
            };
            let id = inner.rng.alphanumeric(ID_CHARS);
            let pending = inner.store.put(sender, &id, None, &record, &forgotten(all, now))?;
            (pending, (record.due(), sender.to_owned(), id))
        };
        pending.await?;
        let id = due.2.clone();
        self.set_timer(due);
        Ok(id)
    }

    /// Durable on return. What was done before is not done again.
    pub async fn act(&self, user: &UserId, id: &str, action: Action) -> Result<(), Error> {
        match action {
            Action::Send => self.send_now(user, id).await,
            Action::Cancel | Action::Restart => self.change(user, id, action).await,
        }
    }

    async fn change(&self, user: &UserId, id: &str, action: Action) -> Result<(), Error> {
        let inner = &*self.inner;
        let (pending, before, after) = {
            let _lock = inner.lock(user).await;
            let before = inner.store.latest(user, id).await?.ok_or(Error::NotFound)?;
            match &before.ended {
                None => {}
                Some((_, Ended::Cancelled | Ended::Failed(..))) if action == Action::Cancel => {
                    return Ok(inner.store.0.barrier().wait().await?);
                }
                Some(_) => return Err(Error::Finalised),
            }
            if inner.timers.lock().sending.contains(id) {
                return Err(Error::Sending);
            }
            let now = inner.clock.now_ms();
            let mut after = before.clone();
            match action {
                Action::Cancel => after.ended = Some((now, Ended::Cancelled)),
                _ => after.scheduled_at = now,
            }
            let pending = inner.store.put(user, id, Some(&before), &after, &[])?;
            // Under the lock, so that the timer does not see what is past.
            let mut timers = inner.timers.lock();
            timers.due.remove(&(before.due(), user.to_owned(), id.to_owned()));
            drop(timers);
            (pending, before, after)
        };
        if after.ended.is_none() {
            self.set_timer((after.due(), user.to_owned(), id.to_owned()));
        }
        if let Err(error) = pending.await {
            // Nothing was changed, so what was due still is.
            self.set_timer((before.due(), user.to_owned(), id.to_owned()));
            return Err(error.into());
        }
        Ok(())
    }

    /// Also one that is over, for some days.
    pub async fn get(&self, user: &UserId, id: &str) -> Result<Option<DelayedEvent>, Error> {
        let record = self.inner.store.get(user, id).await?;
        Ok(record.map(|record| DelayedEvent::new(id.to_owned(), record)))
    }

    /// Those that are scheduled, "in chronological order of their intended send time".
    pub async fn list(&self, user: &UserId) -> Result<Vec<DelayedEvent>, Error> {
        let mut all = self.inner.store.all(user).await?;
        all.retain(|(_, record)| record.ended.is_none());
        all.sort_by_key(|(_, record)| record.due());
        Ok(all.into_iter().map(|(id, record)| DelayedEvent::new(id, record)).collect())
    }

    pub(crate) fn set_timer(&self, due: Due) {
        let now = self.inner.clock.now_ms();
        let mut timers = self.inner.timers.lock();
        // What is due already is not waited for, unless the clock was set meanwhile.
        let wakes = timers.due.first().is_none_or(|first| due < *first || first.0 <= now);
        timers.due.insert(due);
        if wakes {
            self.inner.sooner.notify_one();
        }
    }
}

impl Inner {
    pub(crate) async fn lock(&self, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let at = usize::try_from(self.hasher.hash_one(user) % LOCKS as u64).unwrap_or_default();
        self.locks[at].lock().await
    }

    fn check(&self, new: &NewDelayedEvent<'_>) -> Result<(), Error> {
        if new.delay.is_zero() {
            return Err(Error::Invalid("a delay is at least a millisecond"));
        }
        if new.delay > self.config.delay_max || self.config.scheduled_max == 0 {
            return Err(Error::TooLong(self.config.delay_max));
        }
        // Others have a say in memberships, and a room in how it begins: neither is left to a timer.
        if new.state_key.is_some() && matches!(new.event_type, "m.room.member" | "m.room.create") {
            return Err(Error::Forbidden("an event of this type cannot be delayed"));
        }
        if !new.content.get().trim_ascii_start().starts_with('{') {
            return Err(Error::Invalid("the content of an event is a JSON object"));
        }
        let key = new.state_key.map_or(0, str::len);
        if new.content.get().len() > CONTENT_BYTES_MAX
            || new.event_type.len() > TYPE_BYTES_MAX
            || key > TYPE_BYTES_MAX
        {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    /// `all`: the user's. What others of their requests schedule in this moment is not seen, and comes
    /// on top.
    fn check_number(&self, all: &[(String, DelayedRecord)], now: u64) -> Result<(), Error> {
        let scheduled = all.iter().filter(|(_, record)| record.ended.is_none());
        let due: Vec<u64> = scheduled.map(|(_, record)| record.due()).collect();
        match due.iter().min() {
            Some(first) if due.len() >= self.config.scheduled_max => {
                Err(Error::TooMany(Duration::from_millis(first.saturating_sub(now))))
            }
            _ => Ok(()),
        }
    }
}

/// Those that are over for long, and the oldest of too many.
fn forgotten(all: Vec<(String, DelayedRecord)>, now: u64) -> Vec<(String, DelayedRecord)> {
    let kept_ms = u64::try_from(ENDED_KEPT.as_millis()).unwrap_or(u64::MAX);
    let ended_at = |record: &DelayedRecord| record.ended.as_ref().map(|(at, _)| *at);
    let mut ended: Vec<_> = all.into_iter().filter(|(_, record)| record.ended.is_some()).collect();
    ended.sort_by_key(|(_, record)| std::cmp::Reverse(ended_at(record)));
    let is_old = |record: &DelayedRecord| {
        ended_at(record).is_some_and(|at| at.saturating_add(kept_ms) < now)
    };
    let mut place = 0;
    ended.retain(|(_, record)| {
        place += 1;
        place > ENDED_MAX || is_old(record)
    });
    ended
}
