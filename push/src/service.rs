//! The handle on push, and what its parts share.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use accounts::Accounts;
use stdx::{Rng, SharedClock};
use storage::{ReadError, Store};
use tokio::sync::{Mutex, MutexGuard};

use crate::{Pusher, registry::Registry, store::PusherStore};

/// Changes of one pusher pass one lock; pushers share this many.
const LOCKS: usize = 64;

/// Bounds.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// What push is made of.
pub struct Pieces {
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub accounts: Accounts,
}

/// Push notifications of this server's users. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) accounts: Accounts,
    pub(crate) pushers: PusherStore,
    pub(crate) registry: Registry,
    hasher: RandomState,
    locks: Vec<Mutex<()>>,
}

impl Push {
    /// Loads the pushers.
    pub async fn open(_config: Config, pieces: Pieces) -> Result<Self, ReadError> {
        let Pieces { store, clock, rng, accounts } = pieces;
        let pushers = PusherStore(store);
        let registry = Registry::default();
        pushers.all(|pusher| registry.insert(Arc::new(pusher))).await?;
        let inner = Inner {
            clock,
            rng,
            accounts,
            pushers,
            registry,
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
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
