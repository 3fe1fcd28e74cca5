//! Which threads a user follows, and an index of that by the position of the last change.

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, Fact, First, Pending, Position, Range, Table, Versioned};

use super::{AccountStore, StoreError};
use crate::stream::THREAD_SUBSCRIPTION;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreadSubscriptionRecord {
    /// `None` once unsubscribed.
    pub(crate) automatic: Option<bool>,
    /// Of the last change.
    pub(crate) position: Position,
    /// When the user last said that they want to hear of the thread no more; 0 if never.
    pub(crate) unsubscribed_at: Position,
}

impl Versioned for ThreadSubscriptionRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by room and thread root.
struct ThreadSubscriptionsTable;

impl Table for ThreadSubscriptionsTable {
    const NAME: &'static str = "thread_subscriptions";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = (String, String);
    type Value = ThreadSubscriptionRecord;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChangedRecord {
    room_id: OwnedRoomId,
    root: OwnedEventId,
}

impl Versioned for ChangedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by position: one row for each thread.
struct ThreadSubscriptionChangesTable;

impl Table for ThreadSubscriptionChangesTable {
    const NAME: &'static str = "thread_subscription_changes";
    type Partition = String;
    type Sort = u64;
    type Value = ChangedRecord;
}

pub(crate) struct ThreadSubscriptionRow {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) root: OwnedEventId,
    pub(crate) record: ThreadSubscriptionRecord,
}

impl AccountStore {
    pub(crate) async fn thread_subscription(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
    ) -> Result<Option<ThreadSubscriptionRecord>, StoreError> {
        Ok(self.0.get::<ThreadSubscriptionsTable>(&user_id, (&room_id, &root)).await?)
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_thread_subscription(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
    ) -> Result<Option<ThreadSubscriptionRecord>, StoreError> {
        Ok(self.0.get_latest::<ThreadSubscriptionsTable>(&user_id, (&room_id, &root)).await?)
    }

    /// Under the user's lock, `previous` being the latest.
    pub(crate) fn put_thread_subscription(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
        previous: Option<&ThreadSubscriptionRecord>,
        automatic: Option<bool>,
    ) -> Result<Pending, StoreError> {
        let changed = ChangedRecord { room_id: room_id.to_owned(), root: root.to_owned() };
        let submitted = self.0.submit_with::<CommitError>(|position| {
            let record = ThreadSubscriptionRecord {
                automatic,
                position,
                unsubscribed_at: match automatic {
                    None => position,
                    Some(_) => previous.map_or(0, |previous| previous.unsubscribed_at),
                },
            };
            let mut batch = Batch::new();
            batch.put::<ThreadSubscriptionsTable>(&user_id, (&room_id, &root), &record);
            if let Some(previous) = previous {
                batch.delete::<ThreadSubscriptionChangesTable>(&user_id, previous.position);
            }
            batch.put::<ThreadSubscriptionChangesTable>(&user_id, position, &changed);
            let subject = user_id.as_str().into();
            batch.fact(Fact { stream: THREAD_SUBSCRIPTION, subject, payload: Bytes::new() });
            Ok(batch)
        })?;
        Ok(submitted)
    }

    /// Newest first.
    pub(crate) async fn thread_subscription_changes(
        &self,
        user_id: &UserId,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<ThreadSubscriptionRow>, StoreError> {
        let range = Range::after(after).up_to(up_to).reversed().limit(limit);
        let changes = self.0.scan::<ThreadSubscriptionChangesTable>(&user_id, range).await?;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            let ChangedRecord { room_id, root } = change.value;
            // If it has changed again meanwhile, it is reported at its new position.
            if let Some(record) = self.thread_subscription(user_id, &room_id, &root).await?
                && record.position == change.sort
            {
                rows.push(ThreadSubscriptionRow { room_id, root, record });
            }
        }
        Ok(rows)
    }
}
