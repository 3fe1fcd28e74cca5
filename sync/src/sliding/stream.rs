//! A connection of sliding sync as a stream of batches, for a transport that acknowledges them.
//!
//! It holds no answers and no state of rooms: those versions of the state that a client may still
//! come back with are rows, as they are for requests.

use std::sync::Arc;

use ruma::{DeviceId, UserId, presence::PresenceState};
use smallvec::SmallVec;
use storage::Position;
use tokio::time::Instant;

use super::{
    Look,
    connections::{Claim, Key},
    interest::Interest,
    pos::Pos,
    received,
    request::{SlidingBody, SlidingUpdate},
    to_device_token,
};
use crate::{
    Batch, SyncError,
    connection::{PACE, wait_until},
    hub::{Lease, Registered},
    sections::to_device,
    service::Inner,
};

/// One client that listens. Counts as an open sync of its device until it is dropped.
pub struct SlidingConnection {
    sync: Arc<Inner>,
    lease: Lease,
    registered: Registered,
    key: Key,
    claim: Claim,
    /// As the client asked last, with the messages to the device from where they were given.
    body: SlidingBody,
    /// After the last batch that was returned.
    sent: Option<Pos>,
    /// Versions of the state that the client may come back with, in order.
    kept: SmallVec<[u64; 4]>,
    not_before: Instant,
    /// The last look found nothing, and no mark made since has been looked after.
    is_up_to_date: bool,
    _syncing: presence::SyncGuard,
}

impl SlidingConnection {
    pub(crate) async fn open(
        sync: Arc<Inner>,
        user: &UserId,
        device: &DeviceId,
        set_presence: &PresenceState,
        mut body: SlidingBody,
    ) -> Result<Self, SyncError> {
        let key = Key::new(user, device, &body);
        let sent = body.pos.take().map(|pos| Pos::parse(&pos)).transpose()?;
        let received = received(&sync, &body)?;
        let claim = sync.sliding.connections.claim(&key);
        {
            let _turn = claim.turn().await;
            sync.sliding.connections.resume_at(&sync, &key, sent).await?;
        }
        let syncing = sync.sources.presence.syncing(user, device, set_presence).await;
        let lease = sync.hub.user(user).await?;
        if let Some(since) = received {
            to_device::acknowledge(&sync, &lease.mark, device, since).await?;
        }
        let registered = register(&sync, &key, &body);
        Ok(Self {
            lease,
            registered,
            key,
            claim,
            body,
            kept: sent.iter().map(|pos| pos.version).collect(),
            sent,
            not_before: Instant::now(),
            is_up_to_date: false,
            _syncing: syncing,
            sync,
        })
    }

    /// What the client looks at from the next batch on.
    pub fn update(&mut self, mut update: SlidingUpdate) -> Result<(), SyncError> {
        let asked = update.extensions.as_mut().and_then(|asked| asked.to_device.as_mut());
        match (asked, &self.body.extensions.to_device) {
            // The stream knows better how far it is.
            (Some(asked), Some(before)) => asked.since.clone_from(&before.since),
            (Some(asked), None) => {
                to_device_token::parse(&self.sync, asked.since.as_deref())?;
            }
            (None, _) => (),
        }
        self.body.update(update);
        self.registered = register(&self.sync, &self.key, &self.body);
        self.is_up_to_date = false;
        Ok(())
    }

    /// Waits until there is something to tell, and returns it. Safe to cancel: only what is
    /// returned counts as sent. Asked again before anything changed, it waits at once.
    pub async fn next(&mut self) -> Result<Batch, SyncError> {
        loop {
            if self.is_up_to_date {
                tokio::select! {
                    // The hub does so too when the process stops.
                    () = self.registered.waiter.woken() => (),
                    () = self.claim.superseded() => return Err(SyncError::Superseded),
                }
                self.is_up_to_date = false;
            }
            // On the heap: a connection that waits must not keep the room that computing takes.
            if let Some(batch) = Box::pin(self.look()).await? {
                return Ok(batch);
            }
            self.is_up_to_date = true;
        }
    }

    /// Resolves when another request or stream has the connection's name.
    pub async fn superseded(&self) {
        self.claim.superseded().await;
    }

    /// What there is to tell now, but not sooner after the last batch than its pace allows.
    async fn look(&mut self) -> Result<Option<Batch>, SyncError> {
        wait_until(self.not_before, &self.sync.tasks).await?;
        let _turn = self.claim.turn().await;
        if self.claim.is_superseded() {
            return Err(SyncError::Superseded);
        }
        // What is marked from here on is not in the answer for sure, so it leads to another.
        self.registered.waiter.clear();
        if self.sync.tasks.is_stopping() {
            return Err(SyncError::Stopping);
        }
        let Self { sync, key, body, .. } = &*self;
        let start = sync.sliding.connections.resume_at(sync, key, self.sent).await?;
        let look = Look { sync, user: &self.lease.mark, body, key, start: &start };
        let mut answer = look.compute().await?;
        let pos = look.settle(&mut answer, &self.kept).await?;
        if answer.empty && self.sent.is_some() {
            self.sent = pos.or(self.sent);
            return Ok(None);
        }
        let pos = pos.ok_or_else(|| SyncError::Internal("a batch leads nowhere".to_owned()))?;
        if self.kept.last() != Some(&pos.version) {
            self.kept.push(pos.version);
        }
        let since = answer.to_device.map(|up_to| to_device_token::write(&self.sync, up_to));
        if let Some(asked) = &mut self.body.extensions.to_device {
            asked.since = since;
        }
        self.sent = Some(pos);
        self.not_before = Instant::now() + PACE;
        let text = pos.to_string();
        let body = answer.body(&text).into();
        Ok(Some(Batch { pos: text, body, newest: answer.newest, to_device: answer.to_device }))
    }

    /// The client has processed every batch up to this one: what was kept for it to be sent again
    /// may go.
    pub async fn confirm(&mut self, batch: &Batch) -> Result<(), SyncError> {
        let Pos { version, .. } = Pos::parse(&batch.pos)?;
        self.kept.retain(|kept| *kept >= version);
        if let Some(up_to) = batch.to_device {
            let (user, device) = (&self.lease.mark, &self.key.device);
            to_device::acknowledge(&self.sync, user, device, up_to).await?;
        }
        Ok(())
    }

    /// Up to where the user's account data has changed.
    pub fn account_data(&self) -> Position {
        self.lease.mark.account_data.get()
    }

    /// The `pos` after the last batch.
    pub fn pos(&self) -> Option<String> {
        self.sent.map(|pos| pos.to_string())
    }

    /// How often the connection was woken so far.
    pub fn wakes(&self) -> u64 {
        self.registered.waiter.wakes()
    }
}

fn register(sync: &Arc<Inner>, key: &Key, body: &SlidingBody) -> Registered {
    let interest = Arc::new(Interest::of(body));
    sync.hub.register_sliding(&key.user, key.device.clone(), interest)
}

impl std::fmt::Debug for SlidingConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlidingConnection").field("sent", &self.sent).finish_non_exhaustive()
    }
}
