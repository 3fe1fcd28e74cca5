//! Sliding sync ([MSC4186]): the client says which rooms it looks at, by lists over all its rooms and
//! by name, and is told those, and only what it does not have yet.
//!
//! One model for both forms of the endpoint: `parse.rs` reads them, `result.rs` and `answer.rs` write
//! them. Start reading at [`serve`], then `answer.rs`, `lists.rs`, `room.rs`.
//!
//! [MSC4186]: https://github.com/matrix-org/matrix-spec-proposals/pull/4186

mod answer;
mod connections;
mod extensions;
mod facets;
pub(crate) mod facts;
mod filters;
mod interest;
mod lists;
mod parse;
mod pos;
mod request;
mod required;
mod result;
mod room;
mod room_state;
mod snapshot;
mod standing;
mod state;
mod store;
mod to_device_token;

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use self::{
    answer::{Answer, Ask, compute},
    connections::{Connections, Key, Start, Turn},
    facets::FacetsByState,
    pos::Pos,
    standing::{Standings, new_standings},
};
pub(crate) use self::{extensions::threads::page as thread_subscriptions, interest::Interest};
pub use self::{
    parse::SlidingBodyError,
    request::{Dialect, SlidingBody, SlidingRequest},
};
use crate::{
    Filter, SyncError,
    hub::Lease,
    lazy::{At, LazyMembersSent, ToldMembers},
    sections::to_device,
    service::Inner,
};

/// What all connections share.
pub(crate) struct Sliding {
    connections: Connections,
    facets: FacetsByState,
    standings: Standings,
    told: LazyMembersSent<Key>,
    /// What `/v3/sync` filters by, for the parts of an answer that are the same there: nothing.
    filter: Filter,
}

impl Sliding {
    pub(crate) fn new(lazy_devices: usize) -> Self {
        Self {
            connections: Connections::new(),
            facets: FacetsByState::new(),
            standings: new_standings(),
            told: LazyMembersSent::new(lazy_devices),
            filter: Filter::default(),
        }
    }
}

pub(crate) async fn serve(
    sync: &Arc<Inner>,
    request: SlidingRequest<'_>,
) -> Result<Bytes, SyncError> {
    let presence = &sync.sources.presence;
    // Held while waiting: a device with an open sync does not go offline.
    let _syncing = presence.syncing(request.user, request.device, &request.set_presence).await;
    let key = Key {
        user: request.user.to_owned(),
        device: request.device.to_owned(),
        conn_id: request.body.conn_id.clone(),
    };
    let connections = &sync.sliding.connections;
    let turn = connections.enter(&key).await;
    let start = connections.resume(sync, &key, request.pos).await?;
    let lease = sync.hub.user(request.user).await?;
    if let Some(to_device) = &request.body.extensions.to_device
        && let Some(since) = to_device_token::parse(sync, to_device.since.as_deref())?
    {
        to_device::acknowledge(sync, &lease.mark, request.device, since).await?;
    }
    let told = sync.sliding.told.of(&key);
    if start.since.is_none() {
        told.clear();
    }
    let serving = Serving { sync, request: &request, key: &key, start: &start, told: &told };
    serving.answer(&lease, &turn).await
}

/// One request, while it is its connection's turn.
struct Serving<'a> {
    sync: &'a Arc<Inner>,
    request: &'a SlidingRequest<'a>,
    key: &'a Key,
    start: &'a Start,
    told: &'a ToldMembers,
}

impl Serving<'_> {
    async fn answer(&self, lease: &Lease, turn: &Turn<'_>) -> Result<Bytes, SyncError> {
        let Self { sync, request, .. } = self;
        // "Ignored when no `pos` is set."
        if self.start.since.is_none() || request.timeout.is_zero() {
            let answer = self.compute(lease).await?;
            return self.finish(answer).await;
        }
        let deadline = Instant::now() + request.timeout.min(sync.config.timeout_max);
        let interest = Arc::new(Interest::of(&request.body));
        let device = request.device.to_owned();
        let registered = sync.hub.register_sliding(request.user, device, interest);
        loop {
            // What is marked from here on is not in the answer for sure, so it leads to another.
            registered.waiter.clear();
            let answer = self.compute(lease).await?;
            if !answer.empty {
                return self.finish(answer).await;
            }
            tokio::select! {
                () = registered.waiter.woken() => (),
                () = sleep_until(deadline) => return self.finish(answer).await,
                () = sync.tasks.stopping() => return self.finish(answer).await,
                () = turn.superseded() => {
                    let pos = request.pos.unwrap_or_default();
                    return Ok(answer::superseded(pos).into());
                }
            }
        }
    }

    async fn compute(&self, lease: &Lease) -> Result<Answer, SyncError> {
        let ask = Ask {
            user: &lease.mark,
            device: self.request.device,
            body: &self.request.body,
            start: self.start,
            told: self.told,
        };
        // On the heap: a poll that waits must not keep the room that computing takes.
        Box::pin(compute(self.sync, &ask)).await
    }

    /// What the answer says of the connection is durable before it is given.
    async fn finish(&self, mut answer: Answer) -> Result<Bytes, SyncError> {
        let Self { sync, start, key, .. } = self;
        let changes = std::mem::take(&mut answer.changes);
        if answer.empty
            && !changes.is_empty()
            && let Some(pos) = self.request.pos
        {
            // Only rooms that the client does not look at moved. It comes back from where it was,
            // rather than have that written down.
            return Ok(answer.body(pos).into());
        }
        let version = if changes.is_empty() {
            start.version
        } else {
            let state = start.state.with(changes);
            sync.sliding.connections.keep(sync, key, start, state).await?
        };
        let at = At { version, durable: answer.token.durable };
        for (room_id, user_id, event_id) in &answer.lazy {
            self.told.tell(room_id, user_id, event_id, at);
        }
        let pos = Pos { version, owner: key.owner(), token: answer.token };
        Ok(answer.body(&pos.to_string()).into())
    }
}
