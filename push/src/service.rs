//! The handle on push, and what its parts share.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use accounts::Accounts;
use rooms::Rooms;
use stdx::{Rng, SharedClock, Tasks};
use storage::{ReadError, Store};
use sync::Sync;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use crate::{
    DeadLetter, Gateway, Pusher,
    badge::Badges,
    gateways::Gateways,
    queue::Queues,
    registry::Registry,
    store::{OutboxStore, PusherStore},
};

/// Changes of one pusher pass one lock; pushers share this many.
const LOCKS: usize = 64;

/// Bounds, and what gateways are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether pushers that want more than ids get the content of events.
    pub with_content: bool,
    /// Whether the count is one of rooms with something unread, not one of events.
    pub count_rooms: bool,
    /// The pause after a gateway did not take a notification; doubled each time.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// A notification that fails after this time is given up.
    pub give_up: Duration,
    /// Notifications that may wait for a pusher; the oldest are given up.
    pub waiting_max: usize,
    /// Requests to one gateway at a time.
    pub in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            with_content: true,
            count_rooms: true,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(15 * 60),
            give_up: Duration::from_secs(24 * 60 * 60),
            waiting_max: 1000,
            in_flight: 32,
        }
    }
}

/// What push is made of.
pub struct Pieces {
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub tasks: Tasks,
    pub accounts: Accounts,
    pub rooms: Rooms,
    pub sync: Sync,
    pub gateway: Arc<dyn Gateway>,
}

/// Push notifications of this server's users. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) tasks: Tasks,
    pub(crate) accounts: Accounts,
    pub(crate) rooms: Rooms,
    pub(crate) sync: Sync,
    pub(crate) gateway: Arc<dyn Gateway>,
    pub(crate) gateways: Gateways,
    pub(crate) badges: Badges,
    pub(crate) pushers: PusherStore,
    pub(crate) outbox: OutboxStore,
    pub(crate) registry: Registry,
    pub(crate) queues: Queues,
    /// Of who puts an event to rules for which that takes long.
    pub(crate) judging: Semaphore,
    hasher: RandomState,
    locks: Vec<Mutex<()>>,
}

/// Why push cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

impl Push {
    /// Loads the pushers and follows the log from where it was left. Must be called within a Tokio
    /// runtime.
    pub async fn open(config: Config, pieces: Pieces) -> Result<Self, OpenError> {
        let Pieces { store, clock, rng, tasks, accounts, rooms, sync, gateway } = pieces;
        let (pushers, outbox) = (PusherStore(store.clone()), OutboxStore(store.clone()));
        let registry = Registry::default();
        pushers.all(|pusher| registry.insert(Arc::new(pusher))).await?;
        // What happens before the task has begun is its too.
        let log = store.consume("push", store.log().position());
        let inner = Inner {
            gateways: Gateways::new(config.in_flight),
            badges: Badges::new(sync.clone(), rooms.clone(), config.count_rooms),
            config,
            clock,
            rng,
            tasks: tasks.clone(),
            accounts,
            rooms,
            sync,
            gateway,
            pushers,
            outbox,
            registry,
            queues: Queues::default(),
            judging: Semaphore::new(1),
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
        };
        let push = Self { inner: Arc::new(inner) };
        tasks.spawn_until_stopped("push log", push.clone().follow_log(log));
        Ok(push)
    }

    /// What never arrived, the newest first, with the time in milliseconds at which each was given
    /// up.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
        self.inner.outbox.dead(limit).await
    }
}

impl Inner {
    /// Held while pushers with this key are changed, whosever they are.
    pub(crate) async fn lock_pusher(&self, app_id: &str, pushkey: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((app_id, pushkey));
        self.locks[hash as usize % LOCKS].lock().await
    }

    /// Whether the session that set it has not ended.
    pub(crate) fn is_alive(&self, pusher: &Pusher) -> bool {
        self.accounts.has_session(pusher.session)
    }
}
