//! Sliding sync ([MSC4186]): the client says which rooms it looks at, by lists over all its rooms and
//! by name, and is told those, and only what it does not have yet.
//!
//! One model for both forms of the endpoint: `parse.rs` reads them, `result.rs` and `answer.rs` write
//! them; `stream.rs` is for a transport that acknowledges. Start reading at [`serve`], then
//! `answer.rs`, `lists.rs`, `room.rs`.
//!
//! [MSC4186]: https://github.com/matrix-org/matrix-spec-proposals/pull/4186

mod answer;
mod connections;
pub(crate) mod expiry;
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
mod stream;
mod to_device_token;

use std::sync::Arc;

use bytes::Bytes;
use storage::Position;
use tokio::time::{Instant, sleep_until};

use self::{
    answer::{Answer, Ask, compute},
    connections::{Claim, Connections, Key, Start},
    facets::FacetsByState,
    pos::Pos,
    standing::{Standings, new_standings},
};
pub(crate) use self::{extensions::threads::page as thread_subscriptions, interest::Interest};
pub use self::{
    parse::SlidingBodyError,
    request::{Dialect, SlidingBody, SlidingRequest, SlidingUpdate},
    stream::SlidingConnection,
};
use crate::{
    Filter, SyncError,
    changes::UserMark,
    lazy::{At, LazyMembersSent},
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

/// Answers one request.
pub(crate) async fn serve(
    sync: &Arc<Inner>,
    request: SlidingRequest<'_>,
) -> Result<Bytes, SyncError> {
    let SlidingRequest { user, device, .. } = request;
    let key = Key::new(user, device, &request.body);
    let received = received(sync, &request.body)?;
    let connections = &sync.sliding.connections;
    let claim = connections.claim(&key);
    let _turn = claim.turn().await;
    let start = connections.resume(sync, &key, request.pos).await?;
    // Held while waiting: a device with an open sync does not go offline. Not before it is known
    // that there will be one.
    let _syncing = sync.sources.presence.syncing(user, device, &request.set_presence).await;
    let lease = sync.hub.user(user).await?;
    if let Some(since) = received {
        to_device::acknowledge(sync, &lease.mark, device, since).await?;
    }
    let look = Look { sync, user: &lease.mark, body: &request.body, key: &key, start: &start };
    // "Ignored when no `pos` is set."
    match request.pos.filter(|_| !request.timeout.is_zero()) {
        Some(pos) => {
            let deadline = Instant::now() + request.timeout.min(sync.config.timeout_max);
            look.until_news(pos, deadline, &claim).await
        }
        None => {
            let answer = look.compute().await?;
            look.finish(answer, request.pos.unwrap_or_default()).await
        }
    }
}

/// Up to where the client says that it has the messages to the device.
fn received(sync: &Inner, body: &SlidingBody) -> Result<Option<Position>, SyncError> {
    let asked = body.extensions.to_device.as_ref();
    to_device_token::parse(sync, asked.and_then(|asked| asked.since.as_deref()))
}

/// One look at what changed for a connection, while it is its turn.
struct Look<'a> {
    sync: &'a Arc<Inner>,
    user: &'a UserMark,
    body: &'a SlidingBody,
    key: &'a Key,
    start: &'a Start,
}

impl Look<'_> {
    async fn until_news(
        &self,
        pos: &str,
        deadline: Instant,
        claim: &Claim,
    ) -> Result<Bytes, SyncError> {
        let Self { sync, key, body, .. } = self;
        let interest = Arc::new(Interest::of(body));
        let registered = sync.hub.register_sliding(&key.user, key.device.clone(), interest);
        loop {
            // What is marked from here on is not in the answer for sure, so it leads to another.
            registered.waiter.clear();
            let answer = self.compute().await?;
            if !answer.empty {
                return self.finish(answer, pos).await;
            }
            tokio::select! {
                () = registered.waiter.woken() => (),
                () = sleep_until(deadline) => return self.finish(answer, pos).await,
                () = sync.tasks.stopping() => return self.finish(answer, pos).await,
                () = claim.superseded() => return Ok(answer::superseded(pos).into()),
            }
        }
    }

    async fn finish(&self, mut answer: Answer, came_with: &str) -> Result<Bytes, SyncError> {
        Ok(match self.settle(&mut answer, &[self.start.version]).await? {
            Some(pos) => answer.body(&pos.to_string()).into(),
            None => answer.body(came_with).into(),
        })
    }

    async fn compute(&self) -> Result<Answer, SyncError> {
        let Self { sync, user, body, key, start } = *self;
        let told = &sync.sliding.told.of(key);
        if start.since.is_none() {
            told.clear();
        }
        let ask = Ask { user, device: &key.device, body, start, told };
        // On the heap: a poll that waits must not keep the room that computing takes.
        Box::pin(compute(sync, &ask)).await
    }

    /// Where the client is once it has the answer. What that says of the connection is durable.
    /// `None`: where it is already. Then only rooms moved that the client does not look at, and it
    /// comes back from where it was, rather than have that written down.
    ///
    /// Versions in `kept` stay, beside a new one.
    async fn settle(&self, answer: &mut Answer, kept: &[u64]) -> Result<Option<Pos>, SyncError> {
        let Self { sync, start, key, .. } = self;
        let changes = std::mem::take(&mut answer.changes);
        if answer.empty && !changes.is_empty() && start.since.is_some() {
            return Ok(None);
        }
        let version = if changes.is_empty() {
            start.version
        } else {
            let state = start.state.with(changes);
            sync.sliding.connections.keep(sync, key, kept, state).await?
        };
        let at = At { version, durable: answer.token.durable };
        let told = sync.sliding.told.of(key);
        for (room_id, user_id, event_id) in &answer.lazy {
            told.tell(room_id, user_id, event_id, at);
        }
        let lists = Some(answer.counted);
        Ok(Some(Pos { version, owner: key.owner(), lists, token: answer.token }))
    }
}
