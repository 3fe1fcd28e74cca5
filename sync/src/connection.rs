//! The same changes as a stream of batches, for a transport that acknowledges them.
//!
//! A connection has no queue: it has the token of its last batch. What came since is computed when
//! the transport asks for the next one, so a slow client gets fewer and larger batches.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedRoomId, UserId, presence::PresenceState};
use stdx::Tasks;
use storage::Position;
use tokio::time::{Instant, sleep_until};

use crate::{
    Filter, StateAfter, SyncError, Token,
    compute::{Answer, Query, compute},
    hub::{Lease, Registered},
    sections::to_device,
    service::Inner,
};

/// After a batch the next one waits this long, so that a burst becomes one batch.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// How a connection is to be served.
#[derive(Clone, Debug)]
pub struct Params {
    pub since: Option<String>,
    pub filter: Arc<Filter>,
    /// Of the first batch.
    pub full_state: bool,
    pub set_presence: PresenceState,
    pub use_state_after: Option<StateAfter>,
}

/// What changed since the batch before.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The token after this batch.
    pub pos: String,
    /// The body of a sync response.
    pub body: Bytes,
    /// The newest event by somebody else of each room in which the user is, as far as the body
    /// shows events.
    pub newest: Vec<(OwnedRoomId, OwnedEventId)>,
    /// Up to where the device was given its messages.
    pub(crate) to_device: Option<Position>,
}

/// One client that listens. Counts as an open sync of its device until it is dropped.
pub struct Connection {
    sync: Arc<Inner>,
    lease: Lease,
    registered: Registered,
    device: OwnedDeviceId,
    filter: Arc<Filter>,
    full_state: bool,
    use_state_after: Option<StateAfter>,
    /// After the last batch that was returned.
    sent: Option<Token>,
    not_before: Instant,
    /// The last look found nothing but what was returned, and no mark made since has been looked
    /// after.
    is_up_to_date: bool,
    _syncing: presence::SyncGuard,
}

impl Connection {
    pub(crate) async fn open(
        sync: Arc<Inner>,
        user: &UserId,
        device: &DeviceId,
        params: Params,
    ) -> Result<Self, SyncError> {
        let sent = sync.since(params.since.as_deref())?;
        let syncing = sync.sources.presence.syncing(user, device, &params.set_presence).await;
        let lease = sync.hub.user(user).await?;
        if let Some(sent) = sent {
            to_device::acknowledge(&sync, &lease.mark, device, sent.to_device).await?;
        }
        let filter = Arc::clone(&params.filter);
        let registered = sync.hub.register(user, Some(device.to_owned()), filter);
        Ok(Self {
            lease,
            registered,
            device: device.to_owned(),
            filter: params.filter,
            full_state: params.full_state,
            use_state_after: params.use_state_after,
            sent,
            not_before: Instant::now(),
            is_up_to_date: false,
            _syncing: syncing,
            sync,
        })
    }

    /// Waits until there is something to tell, and returns it. Safe to cancel: only what is
    /// returned counts as sent. Asked again before anything changed, it waits at once.
    pub async fn next(&mut self) -> Result<Batch, SyncError> {
        loop {
            if self.is_up_to_date {
                // The hub does so too when the process stops.
                self.registered.waiter.woken().await;
                self.is_up_to_date = false;
            }
            // On the heap: a connection that waits must not keep the room that computing takes.
            if let Some(batch) = Box::pin(self.look()).await? {
                return Ok(batch);
            }
            self.is_up_to_date = true;
        }
    }

    /// What there is to tell now, but not sooner after the last batch than its pace allows.
    async fn look(&mut self) -> Result<Option<Batch>, SyncError> {
        wait_until(self.not_before, &self.sync.tasks).await?;
        // What is marked from here on is not in the answer for sure, so it leads to another.
        self.registered.waiter.clear();
        if self.sync.tasks.is_stopping() {
            return Err(SyncError::Stopping);
        }
        let first = self.sent.is_none();
        let answer = self.compute().await?;
        self.sent = Some(answer.token);
        if !first && answer.empty {
            return Ok(None);
        }
        self.full_state = false;
        self.not_before = Instant::now() + PACE;
        let Answer { token, body, newest, .. } = answer;
        // Of messages to the device there may be more than one batch takes.
        self.is_up_to_date = token.to_device == token.durable;
        let to_device = Some(token.to_device);
        Ok(Some(Batch { pos: token.to_string(), body: body.into(), newest, to_device }))
    }

    /// The client has processed every batch up to this one: what was kept for it to be sent again
    /// may go.
    pub async fn confirm(&self, batch: &Batch) -> Result<(), SyncError> {
        if let Some(up_to) = batch.to_device {
            let (user, device) = (&self.lease.mark, &self.device);
            to_device::acknowledge(&self.sync, user, device, up_to).await?;
        }
        Ok(())
    }

    /// Up to where the user's account data has changed.
    pub fn account_data(&self) -> Position {
        self.lease.mark.account_data.get()
    }

    /// The token after the last batch.
    pub fn pos(&self) -> Option<String> {
        self.sent.map(|token| token.to_string())
    }

    /// How often the connection was woken so far.
    pub fn wakes(&self) -> u64 {
        self.registered.waiter.wakes()
    }

    async fn compute(&self) -> Result<Answer, SyncError> {
        let query = Query {
            user: &self.lease.mark,
            device: Some(&self.device),
            since: self.sent,
            filter: &self.filter,
            full_state: self.full_state,
            state_after: self.use_state_after,
        };
        compute(&self.sync, &query).await
    }
}

/// Waits for a moment that is mostly over: then it takes no timer.
pub(crate) async fn wait_until(moment: Instant, tasks: &Tasks) -> Result<(), SyncError> {
    if moment <= Instant::now() {
        return Ok(());
    }
    tokio::select! {
        () = sleep_until(moment) => Ok(()),
        () = tasks.stopping() => Err(SyncError::Stopping),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("sent", &self.sent).finish_non_exhaustive()
    }
}
