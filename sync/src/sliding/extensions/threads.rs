//! Changes of which threads the user follows ([MSC4308]), in sync and page by page.
//!
//! [MSC4308]: https://github.com/matrix-org/matrix-spec-proposals/pull/4308

use std::{collections::BTreeMap, sync::Arc};

use accounts::ThreadSubscriptionChange;
use bytes::Bytes;
use ruma::{RoomId, UserId};
use storage::Position;

use super::Extended;
use crate::{
    SyncError, Token,
    json::{self, Map, Object},
    service::Inner,
    sliding::{answer::Context, snapshot::Snapshot},
};

const KEY: &str = "io.element.msc4308.thread_subscriptions";
/// Changes in one answer: "Servers may impose a smaller limit".
pub(crate) const LIMIT_MAX: usize = 100;

pub(super) async fn write(
    context: &Context<'_>,
    limit: usize,
    snapshot: &Snapshot,
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let after = context.base.after();
    if context.base.since.is_some() && snapshot.thread_subscriptions <= after {
        return Ok(());
    }
    let (sync, user) = (context.sync, context.base.user);
    let page = Page::load(sync, user, (after, snapshot.now.durable), limit).await?;
    if page.changes.is_empty() {
        return Ok(());
    }
    extended.empty = false;
    page.write(&context.base.token, "prev_batch", extended.written.key(KEY));
    Ok(())
}

/// The newest changes in a range of the log, each thread once.
struct Page {
    changes: Vec<ThreadSubscriptionChange>,
    /// There are more before this position.
    more_before: Option<Position>,
}

impl Page {
    async fn load(
        sync: &Inner,
        user: &UserId,
        (after, up_to): (Position, Position),
        limit: usize,
    ) -> Result<Self, SyncError> {
        let accounts = &sync.sources.accounts;
        let mut changes =
            accounts.thread_subscription_changes(user, after, up_to, limit + 1).await?;
        let mut more_before = None;
        if changes.len() > limit {
            changes.truncate(limit);
            more_before = changes.last().map(|change| change.position - 1);
        }
        Ok(Self { changes, more_before })
    }

    /// `more` is the key of the token for what is not in the page.
    fn write(&self, now: &Token, more: &str, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        for (key, is_subscribed) in [("subscribed", true), ("unsubscribed", false)] {
            let mut by_room: BTreeMap<&RoomId, Map> = BTreeMap::new();
            let of_kind =
                |change: &&ThreadSubscriptionChange| change.automatic.is_some() == is_subscribed;
            for change in self.changes.iter().filter(of_kind) {
                let threads = by_room.entry(&change.room_id).or_default();
                let mut thread = Object::open(threads.key(change.root.as_str()));
                if let Some(automatic) = change.automatic {
                    thread.raw("automatic", if automatic { b"true" } else { b"false" });
                }
                json::number(thread.key("bump_stamp"), change.position);
                thread.close();
            }
            if by_room.is_empty() {
                continue;
            }
            let mut rooms = Object::open(object.key(key));
            for (room_id, threads) in by_room {
                threads.write(rooms.key(room_id.as_str()));
            }
            rooms.close();
        }
        if let Some(before) = self.more_before {
            let token = Token { durable: before, to_device: before, ..*now };
            json::text(object.key(more), &token.to_string());
        }
        object.close();
    }
}

/// A page of changes up to `from`, or up to now, and after `to`: tokens of sync.
pub(crate) async fn page(
    sync: &Arc<Inner>,
    user: &UserId,
    from: Option<Position>,
    to: Option<Position>,
    limit: usize,
) -> Result<Bytes, SyncError> {
    sync.hub.caught_up().await?;
    let now = sync.hub.at_one_moment(|now| now);
    let up_to = from.map_or(now.durable, |from| from.min(now.durable));
    let page = Page::load(sync, user, (to.unwrap_or(0), up_to), limit.clamp(1, LIMIT_MAX)).await?;
    let mut body = Vec::with_capacity(256);
    page.write(&sync.token_at(now, None), "end", &mut body);
    Ok(body.into())
}
