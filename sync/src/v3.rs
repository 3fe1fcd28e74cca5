//! `GET /_matrix/client/v3/sync`: the long poll, and the sections of the answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ruma::{DeviceId, UserId, presence::PresenceState};
use tokio::time::{Instant, sleep_until};

use crate::{
    Filter, SyncError, Token,
    compute::{Answer, Query, compute},
    hub::Lease,
    sections::to_device,
    service::Inner,
};

pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod leave;
mod state;

/// The key under which `state_after` was asked for, and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateAfter {
    /// `state_after`.
    Stable,
    /// `org.matrix.msc4222.state_after`.
    Unstable,
}

/// The parameters of `GET /_matrix/client/v3/sync`.
#[derive(Clone, Debug)]
pub struct V3Request<'a> {
    pub user: &'a UserId,
    /// `None` for a token without a device: no to-device messages, no transaction ids.
    pub device: Option<&'a DeviceId>,
    pub since: Option<&'a str>,
    pub filter: Arc<Filter>,
    pub full_state: bool,
    pub set_presence: PresenceState,
    pub use_state_after: Option<StateAfter>,
    pub timeout: Duration,
}

pub(crate) async fn sync(sync: &Arc<Inner>, request: V3Request<'_>) -> Result<Bytes, SyncError> {
    let since = sync.since(request.since)?;
    // Held while waiting: a device with an open sync does not go offline.
    let _syncing = match request.device {
        Some(device) => {
            let presence = &sync.sources.presence;
            Some(presence.syncing(request.user, device, &request.set_presence).await)
        }
        None => None,
    };
    let lease = sync.hub.user(request.user).await?;
    if let (Some(since), Some(device)) = (since, request.device) {
        to_device::acknowledge(sync, &lease.mark, device, since.to_device).await?;
    }
    let waits = since.is_some() && !request.full_state && !request.timeout.is_zero();
    let answer = if waits {
        long_poll(sync, &lease, &request, since).await?
    } else {
        answer(sync, &lease, &request, since).await?
    };
    Ok(answer.body.into())
}

async fn answer(
    sync: &Inner,
    lease: &Lease,
    request: &V3Request<'_>,
    since: Option<Token>,
) -> Result<Answer, SyncError> {
    let query = Query {
        user: &lease.mark,
        device: request.device,
        since,
        filter: &request.filter,
        full_state: request.full_state,
        state_after: request.use_state_after,
    };
    // On the heap: a poll that waits must not keep the room that computing takes.
    Box::pin(compute(sync, &query)).await
}

async fn long_poll(
    sync: &Arc<Inner>,
    lease: &Lease,
    request: &V3Request<'_>,
    since: Option<Token>,
) -> Result<Answer, SyncError> {
    let deadline = Instant::now() + request.timeout.min(sync.config.timeout_max);
    let device = request.device.map(ToOwned::to_owned);
    let registered = sync.hub.register(request.user, device, Arc::clone(&request.filter));
    let mut since = since;
    loop {
        // What is marked from here on is not in the answer for sure, so it leads to another.
        registered.waiter.clear();
        let answer = answer(sync, lease, request, since).await?;
        if !answer.empty {
            return Ok(answer);
        }
        // Nothing lies between, so the next look need not begin as far back.
        since = Some(answer.token);
        tokio::select! {
            () = registered.waiter.woken() => (),
            () = sleep_until(deadline) => return Ok(answer),
            () = sync.tasks.stopping() => return Ok(answer),
        }
    }
}
