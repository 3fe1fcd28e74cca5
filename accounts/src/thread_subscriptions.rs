//! Which threads a user wants to hear of (MSC4306).

use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use storage::Position;

use crate::{Accounts, StoreError, store::ThreadSubscriptionRow};

/// Why a thread is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    Manual,
    /// A client did so because of an event, which is at this position of the log.
    Automatic {
        cause: Position,
    },
}

/// What changed last about a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSubscriptionChange {
    pub room_id: OwnedRoomId,
    pub root: OwnedEventId,
    /// `None`: it is followed no more.
    pub automatic: Option<bool>,
    pub position: Position,
}

#[derive(Debug, thiserror::Error)]
pub enum ThreadSubscriptionError {
    #[error("the user has unsubscribed from the thread since that event")]
    Unsubscribed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ThreadSubscriptionRow> for ThreadSubscriptionChange {
    fn from(row: ThreadSubscriptionRow) -> Self {
        let ThreadSubscriptionRow { room_id, root, record } = row;
        Self { room_id, root, automatic: record.automatic, position: record.position }
    }
}

impl Accounts {
    /// Whether the subscription was made automatically; `None` if there is none.
    pub async fn thread_subscription(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
    ) -> Result<Option<bool>, StoreError> {
        let record = self.inner.store.thread_subscription(user_id, room_id, root).await?;
        Ok(record.and_then(|record| record.automatic))
    }

    /// Whether the thread can be seen is the caller's business. What a user did by hand wins over
    /// what a client did for them.
    pub async fn subscribe_thread(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
        subscription: Subscription,
    ) -> Result<(), ThreadSubscriptionError> {
        let store = &self.inner.store;
        let changed = {
            let _lock = self.inner.lock(user_id).await;
            let previous = store.latest_thread_subscription(user_id, room_id, root).await?;
            let current = previous.as_ref().and_then(|previous| previous.automatic);
            let automatic = match subscription {
                Subscription::Manual => false,
                Subscription::Automatic { cause } => {
                    // "prevent automatic subscriptions being re-applied when an unsubscription
                    // occurred after receipt of the event causing a subscription."
                    let left = previous.as_ref().map_or(0, |previous| previous.unsubscribed_at);
                    if current.is_none() && cause <= left {
                        return Err(ThreadSubscriptionError::Unsubscribed);
                    }
                    current.unwrap_or(true)
                }
            };
            if current == Some(automatic) {
                None
            } else {
                let previous = previous.as_ref();
                let automatic = Some(automatic);
                Some(store.put_thread_subscription(user_id, room_id, root, previous, automatic)?)
            }
        };
        match changed {
            Some(changed) => drop(changed.await.map_err(StoreError::from)?),
            // It may have been made by a request that is not answered yet.
            None => store.barrier().await?,
        }
        Ok(())
    }

    pub async fn unsubscribe_thread(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        root: &EventId,
    ) -> Result<(), StoreError> {
        let store = &self.inner.store;
        let changed = {
            let _lock = self.inner.lock(user_id).await;
            let previous = store.latest_thread_subscription(user_id, room_id, root).await?;
            match previous.filter(|previous| previous.automatic.is_some()) {
                Some(previous) => {
                    let previous = Some(&previous);
                    Some(store.put_thread_subscription(user_id, room_id, root, previous, None)?)
                }
                None => None,
            }
        };
        match changed {
            Some(changed) => drop(changed.await?),
            None => store.barrier().await?,
        }
        Ok(())
    }

    /// What changed after `after`, up to and including `up_to`, each thread once, newest first.
    pub async fn thread_subscription_changes(
        &self,
        user_id: &UserId,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<ThreadSubscriptionChange>, StoreError> {
        if after >= up_to {
            return Ok(Vec::new());
        }
        let store = &self.inner.store;
        let rows = store.thread_subscription_changes(user_id, after, up_to, limit).await?;
        Ok(rows.into_iter().map(ThreadSubscriptionChange::from).collect())
    }
}
