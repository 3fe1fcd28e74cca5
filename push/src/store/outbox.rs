//! What waits for each pusher, in the order in which it happened, and what was given up.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use storage::{
    Batch, CommitError, First, Pending, Position, Range, ReadError, Store, Table, Versioned,
};

use crate::Pusher;

/// Rows of a pusher that are removed in one batch.
const PAGE: usize = 1000;
/// Notifications that were given up of which the list tells; older ones go.
const DEAD_MAX: usize = 10_000;
const DEAD: u32 = 0;

struct Outbox;

impl Table for Outbox {
    const NAME: &'static str = "push_outbox";
    /// Id of the pusher.
    type Partition = u64;
    /// Of the fact.
    type Sort = u64;
    type Value = NoticeRecord;
}

/// What a pusher is to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticeRecord {
    pub(crate) room_id: OwnedRoomId,
    /// `None`: only that the counts have changed.
    pub(crate) event_id: Option<OwnedEventId>,
    /// JSON: the actions of the rule.
    pub(crate) actions: Bytes,
    /// When it was put here, in milliseconds.
    pub(crate) ts: u64,
}

impl Versioned for NoticeRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// What never arrived.
struct DeadLetters;

impl Table for DeadLetters {
    const NAME: &'static str = "push_dead_letters";
    type Partition = u32;
    /// When it was given up, in milliseconds, and what tells it from others of that time.
    type Sort = (u64, u64);
    type Value = DeadRecord;
}

/// A notification that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub user_id: OwnedUserId,
    pub app_id: String,
    /// The host where it should have gone.
    pub gateway: String,
    pub room_id: OwnedRoomId,
    pub event_id: Option<OwnedEventId>,
    /// The last of the failures.
    pub reason: String,
}

type DeadRecord = DeadLetter;

impl Versioned for DeadLetter {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// Something for a pusher.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) pusher: Arc<Pusher>,
    pub(crate) position: Position,
    pub(crate) notice: NoticeRecord,
}

/// The named operations on what waits.
#[derive(Clone)]
pub(crate) struct OutboxStore(pub(crate) Store);

impl OutboxStore {
    pub(crate) fn add(batch: &mut Batch, items: &[Item]) {
        for Item { pusher, position, notice } in items {
            batch.derive_put::<Outbox>(pusher.id, *position, notice);
        }
    }

    /// The oldest after a position.
    pub(crate) async fn next(
        &self,
        pusher: u64,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, NoticeRecord)>, ReadError> {
        let rows = self.0.scan::<Outbox>(pusher, Range::after(after).limit(limit)).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    /// Returns before that is durable: after a crash a notification may come twice, and its gateway
    /// knows it by the event's id.
    pub(crate) fn settle(&self, pusher: u64, position: Position) -> Result<Pending, CommitError> {
        let mut batch = Batch::new();
        batch.delete::<Outbox>(pusher, position);
        self.0.submit(batch)
    }

    pub(crate) fn settle_all(batch: &mut Batch, pusher: u64, positions: &[Position]) {
        for position in positions {
            batch.delete::<Outbox>(pusher, *position);
        }
    }

    /// Removes what waits for a pusher that is no more.
    pub(crate) async fn clear(&self, pusher: u64) -> Result<(), rooms::Error> {
        loop {
            let rows = self.next(pusher, 0, PAGE).await?;
            let mut batch = Batch::new();
            for (position, _) in &rows {
                batch.delete::<Outbox>(pusher, *position);
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.0.commit(batch).await?;
        }
    }

    /// The oldest go until so many are left. Returns what went.
    pub(crate) async fn thin(
        &self,
        pusher: u64,
        keep: usize,
    ) -> Result<Vec<(Position, NoticeRecord)>, ReadError> {
        let newest = Range::all().reversed().limit(keep + 1);
        let rows = self.0.scan::<Outbox>(pusher, newest).await?;
        match rows.get(keep) {
            Some(row) => self.surplus(pusher, row.sort).await,
            None => Ok(Vec::new()),
        }
    }

    async fn surplus(
        &self,
        pusher: u64,
        up_to: Position,
    ) -> Result<Vec<(Position, NoticeRecord)>, ReadError> {
        let range = Range::all().up_to(up_to).limit(PAGE);
        let rows = self.0.scan::<Outbox>(pusher, range).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    /// Gives notifications up.
    pub(crate) async fn bury(
        &self,
        pusher: &Pusher,
        dead: Vec<(Position, NoticeRecord)>,
        reason: &str,
        now: u64,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        for (position, notice) in dead {
            let letter = DeadLetter {
                user_id: pusher.user_id.clone(),
                app_id: pusher.app_id.clone(),
                gateway: pusher.gateway_host(),
                room_id: notice.room_id,
                event_id: notice.event_id,
                reason: reason.to_owned(),
            };
            batch.delete::<Outbox>(pusher.id, position);
            // Of one event many may be given up at once.
            batch.derive_put::<DeadLetters>(DEAD, (now, position ^ pusher.id), &letter);
        }
        self.0.commit(batch).await.map(drop)
    }

    /// The newest first, with the time in milliseconds at which each was given up.
    pub(crate) async fn dead(&self, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
        let range = Range::all().reversed().limit(limit);
        let rows = self.0.scan::<DeadLetters>(DEAD, range).await?;
        Ok(rows.into_iter().map(|row| (row.sort.0, row.value)).collect())
    }

    /// Keeps the list of what was given up in its bounds.
    pub(crate) async fn thin_dead(&self) -> Result<(), rooms::Error> {
        let range = Range::all().reversed().limit(DEAD_MAX + PAGE);
        let rows = self.0.scan::<DeadLetters>(DEAD, range).await?;
        let mut batch = Batch::new();
        for row in rows.iter().skip(DEAD_MAX) {
            batch.delete::<DeadLetters>(DEAD, row.sort);
        }
        if !batch.is_empty() {
            self.0.commit(batch).await?;
        }
        Ok(())
    }
}
