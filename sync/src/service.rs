//! The handle on sync: what it reads from, its bounds, and the two ways in.

use std::{sync::Arc, time::Duration};

use accounts::Accounts;
use bytes::Bytes;
use devices::Devices;
use presence::Presence;
use rooms::Rooms;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId, presence::PresenceState};
use stdx::{SharedClock, Tasks};
use storage::Store;

use crate::{
    Connection, Params, SlidingBody, SlidingConnection, SlidingRequest, SyncError, V3Request,
    hub::Hub, lazy::LazyMembersSent, sections::summary::CandidatesByState, sliding::Sliding,
    unread::UnreadCounts,
};

/// States of which the members that name the room are kept.
const CANDIDATES_KEPT: usize = 4096;

/// Intervals, and bounds of what is kept in memory.
#[derive(Clone, Debug)]
pub struct Config {
    /// A long poll is answered after this time at the latest.
    pub timeout_max: Duration,
    /// Typing, receipts and presence wake nobody more often than this.
    pub coalesce: Duration,
    /// Users whose rooms are followed although they are not connected at the moment.
    pub users_kept: usize,
    /// How often users who are gone are forgotten, and after how many times.
    pub sweep_interval: Duration,
    pub sweeps_kept: u64,
    /// How often connections of sliding sync are looked for that nobody uses any more.
    pub expiry_interval: Duration,
    /// Devices of which is known which members they have been told.
    pub lazy_devices: usize,
    /// Pairs of user and room whose unread counts are kept.
    pub unread_rooms: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout_max: Duration::from_secs(5 * 60),
            coalesce: Duration::from_millis(250),
            users_kept: 50_000,
            sweep_interval: Duration::from_secs(60),
            sweeps_kept: 10,
            expiry_interval: Duration::from_secs(60 * 60),
            lazy_devices: 20_000,
            unread_rooms: 200_000,
        }
    }
}

/// Where changes come from.
#[derive(Clone)]
pub struct Sources {
    pub store: Store,
    pub rooms: Rooms,
    pub accounts: Accounts,
    pub devices: Devices,
    pub presence: Presence,
}

/// What changed for whom. Cheap to clone.
#[derive(Clone)]
pub struct Sync {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) sources: Sources,
    pub(crate) hub: Arc<Hub>,
    pub(crate) lazy: LazyMembersSent<(OwnedUserId, OwnedDeviceId)>,
    pub(crate) sliding: Sliding,
    pub(crate) unread: UnreadCounts,
    pub(crate) candidates: CandidatesByState,
    /// Tells this run of the process from others; see [`Token`](crate::Token).
    pub(crate) boot: u64,
    pub(crate) tasks: Tasks,
    pub(crate) clock: SharedClock,
}

impl Sync {
    /// Starts to follow the sources. Must be called within a Tokio runtime.
    pub fn new(config: Config, sources: Sources, clock: SharedClock, tasks: Tasks) -> Self {
        let hub = Hub::start(sources.clone(), config.clone(), &tasks);
        let inner = Inner {
            hub,
            lazy: LazyMembersSent::new(config.lazy_devices),
            sliding: Sliding::new(config.lazy_devices),
            unread: UnreadCounts::new(sources.clone(), config.unread_rooms),
            boot: clock.now_ms(),
            candidates: CandidatesByState::new(CANDIDATES_KEPT),
            config,
            sources,
            tasks,
            clock,
        };
        let inner = Arc::new(inner);
        let store = &inner.sources.store;
        let follower = store.follow(store.log().position());
        let expiry = crate::sliding::expiry::run(Arc::clone(&inner), follower);
        inner.tasks.spawn_until_stopped("sync-sliding-expiry", expiry);
        Self { inner }
    }

    /// Answers `GET /sync`: at once if there is anything to tell, else when there is or when the
    /// time is over. Safe to cancel.
    pub async fn v3(&self, request: V3Request<'_>) -> Result<Bytes, SyncError> {
        crate::v3::sync(&self.inner, request).await
    }

    /// Answers one request of sliding sync, as [`v3`](Self::v3) does. Safe to cancel. Ends a
    /// request of the same connection that is waiting.
    pub async fn sliding(&self, request: SlidingRequest<'_>) -> Result<Bytes, SyncError> {
        crate::sliding::serve(&self.inner, request).await
    }

    /// Which threads the user began or ceased to follow: the newest changes up to `from`, or up to
    /// now, and after `to`. JSON, as `GET …/thread_subscriptions` answers it.
    pub async fn thread_subscriptions(
        &self,
        user: &UserId,
        from: Option<&str>,
        to: Option<&str>,
        limit: usize,
    ) -> Result<Bytes, SyncError> {
        let position = |token: Option<&str>| token.map(|token| self.position_of(token)).transpose();
        let (from, to) = (position(from)?, position(to)?);
        crate::sliding::thread_subscriptions(&self.inner, user, from, to, limit).await
    }

    /// The position on the log that a token stands for.
    pub fn position_of(&self, token: &str) -> Result<storage::Position, SyncError> {
        // A `pos` of sliding sync is a token behind the version of a connection.
        let token = token.split_once('/').map_or(token, |(_, token)| token);
        let token = self.inner.since(Some(token))?.ok_or(SyncError::InvalidToken)?;
        Ok(token.durable)
    }

    /// A stream of batches for a transport that acknowledges them.
    pub async fn connection(
        &self,
        user: &UserId,
        device: &DeviceId,
        params: Params,
    ) -> Result<Connection, SyncError> {
        Connection::open(Arc::clone(&self.inner), user, device, params).await
    }

    /// As [`connection`](Self::connection), by sliding sync. Takes the place of whoever is served
    /// as the same connection.
    pub async fn sliding_connection(
        &self,
        user: &UserId,
        device: &DeviceId,
        set_presence: &PresenceState,
        body: SlidingBody,
    ) -> Result<SlidingConnection, SyncError> {
        let sync = Arc::clone(&self.inner);
        SlidingConnection::open(sync, user, device, set_presence, body).await
    }
}
