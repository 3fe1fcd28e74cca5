//! The handle on push, and what its parts share.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use accounts::Accounts;
use rooms::Rooms;
use ruma::UserId;
use stdx::{Rng, SharedClock, Tasks};
use storage::{ReadError, Store};
use sync::Sync;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use crate::{
    DeadLetter, Gateway, Kind, Pusher, PusherError,
    badge::Badges,
    email::{MailConfig, Mails},
    gateways::Gateways,
    pusher::Tie,
    queue::Queues,
    registry::Registry,
    store::{MailStore, OutboxStore, PusherStore, load_secrets},
    web_push::{Activating, Vapid},
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
    /// Web Push: a URL of whom the operator of a push service may turn to. `None`: it is not offered.
    pub web_push_contact: Option<String>,
    /// `None`: there are no mails.
    pub mail: Option<MailConfig>,
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
            web_push_contact: None,
            mail: None,
        }
    }
}

impl Config {
    /// How long to wait after so many failures, which is at least one.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.retry_min.saturating_mul(1 << (failures.max(1) - 1).min(20));
        doubled.min(self.retry_max)
    }
}

/// Which kinds of pushers there are, besides those over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offers {
    mail: bool,
    web_push: bool,
}

impl Offers {
    pub(crate) fn includes(self, kind: Kind) -> bool {
        match kind {
            Kind::Http => true,
            Kind::Email => self.mail,
            Kind::WebPush => self.web_push,
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
    pub(crate) mail_store: MailStore,
    pub(crate) registry: Registry,
    pub(crate) queues: Queues,
    pub(crate) vapid: Vapid,
    pub(crate) activating: Activating,
    /// `None` if there are no mails.
    pub(crate) mails: Option<Mails>,
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
    #[error("the key for Web Push is damaged")]
    DamagedKey,
}

impl Push {
    /// Loads the pushers and follows the log from where it was left. Must be called within a Tokio
    /// runtime.
    pub async fn open(config: Config, pieces: Pieces) -> Result<Self, OpenError> {
        let Pieces { store, clock, rng, tasks, accounts, rooms, sync, gateway } = pieces;
        let (pushers, outbox) = (PusherStore(store.clone()), OutboxStore(store.clone()));
        let secrets = load_secrets(&store, &rng).await?;
        let contact = config.web_push_contact.clone().unwrap_or_default();
        let vapid = Vapid::new(&secrets.vapid, contact).ok_or(OpenError::DamagedKey)?;
        let registry = Registry::default();
        pushers.all(|pusher| registry.insert(Arc::new(pusher))).await?;
        // What happens before the task has begun is its too.
        let log = store.consume("push", store.log().position());
        let inner = Inner {
            gateways: Gateways::new(config.in_flight),
            badges: Badges::new(sync.clone(), rooms.clone(), config.count_rooms),
            mails: config.mail.clone().map(|mail| Mails::new(mail, &secrets.tickets)),
            mail_store: MailStore(store),
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
            vapid,
            activating: Activating::default(),
            judging: Semaphore::new(1),
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
        };
        let push = Self { inner: Arc::new(inner) };
        tasks.spawn_until_stopped("push log", push.clone().follow_log(log));
        if push.inner.mails.is_some() {
            tasks.spawn_until_stopped("push mails", push.clone().run_mails());
        }
        Ok(push)
    }

    /// What never arrived, the newest first, with the time in milliseconds at which each was given
    /// up.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
        self.inner.outbox.dead(limit).await
    }

    /// The public key of Web Push, which apps name when they subscribe (RFC 8292): a point of P-256,
    /// uncompressed, in base64 for URLs without padding. `None` if it is not offered.
    pub fn web_push_key(&self) -> Option<&str> {
        let inner = &*self.inner;
        inner.config.web_push_contact.as_ref().map(|_| inner.vapid.public_key())
    }
}

impl Inner {
    /// Held while pushers with this key are changed, whosever they are.
    pub(crate) async fn lock_pusher(&self, app_id: &str, pushkey: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((app_id, pushkey));
        self.locks[hash as usize % LOCKS].lock().await
    }

    /// Whether the session that set it has not ended, and the address that it writes to is the user's.
    pub(crate) async fn lives(&self, pusher: &Pusher) -> Result<bool, PusherError> {
        match pusher.tie {
            Tie::Session(session) => Ok(self.accounts.has_session(session)),
            Tie::Address { added_at } => {
                let added = self.address_added_at(&pusher.user_id, &pusher.pushkey).await?;
                Ok(added == Some(added_at))
            }
        }
    }

    /// As [`lives`](Self::lives), for those who go on if that cannot be told.
    pub(crate) async fn is_alive(&self, pusher: &Pusher) -> bool {
        self.lives(pusher).await.unwrap_or_else(|error| {
            tracing::error!(%error, "whether a pusher lives cannot be read");
            true
        })
    }

    /// When the user's account got an email address, in milliseconds; `None` if it has it not.
    pub(crate) async fn address_added_at(
        &self,
        user: &UserId,
        address: &str,
    ) -> Result<Option<u64>, PusherError> {
        let threepids = self.accounts.threepids(user).await?;
        let found = threepids.iter().find(|it| it.medium == "email" && it.address == address);
        Ok(found.map(|threepid| threepid.added_at))
    }

    pub(crate) fn offers(&self) -> Offers {
        Offers { mail: self.mails.is_some(), web_push: self.config.web_push_contact.is_some() }
    }
}
