//! What waits for application services, in the order in which it happened.

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Position, Range, ReadError, Store, Table, Versioned};

/// Rows that are counted or dropped at a time.
const PAGE: usize = 1000;

/// Events that are to be sent.
struct Outbox;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) event_id: OwnedEventId,
}

impl Versioned for EventRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Outbox {
    const NAME: &'static str = "appservice_outbox";
    /// Application service.
    type Partition = String;
    /// Of the fact.
    type Sort = u64;
    type Value = EventRecord;
}

/// The newest transaction, whether it was answered or not: its number is not used again.
struct Transactions;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) txn_id: u64,
    /// Empty once it is answered.
    pub(crate) body: Bytes,
    /// The newest event that went into one.
    pub(crate) up_to: Position,
}

impl Versioned for Transaction {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Transactions {
    const NAME: &'static str = "appservice_transactions";
    /// Application service.
    type Partition = String;
    type Sort = ();
    type Value = Transaction;
}

#[derive(Clone)]
pub(crate) struct DeliveryStore(pub(crate) Store);

impl DeliveryStore {
    pub(crate) fn add(batch: &mut Batch, events: &[(&str, Position, EventRecord)]) {
        for (service, position, record) in events {
            batch.derive_put::<Outbox>(service, *position, record);
        }
    }

    /// The oldest events after a position.
    pub(crate) async fn next(
        &self,
        service: &str,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, EventRecord)>, ReadError> {
        let rows = self.0.scan::<Outbox>(service, Range::after(after).limit(limit)).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) async fn count(&self, service: &str) -> Result<usize, ReadError> {
        let (mut count, mut after) = (0, 0);
        loop {
            let rows = self.next(service, after, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(count) };
            (count, after) = (count + rows.len(), *last);
        }
    }

    /// Gives the oldest events up. Returns how many.
    pub(crate) async fn drop_oldest(&self, service: &str) -> Result<usize, storage::CommitError> {
        let rows = match self.next(service, 0, PAGE).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "what waits for an application service cannot be read");
                return Ok(0);
            }
        };
        let mut batch = Batch::new();
        for (position, _) in &rows {
            batch.delete::<Outbox>(service, *position);
        }
        self.0.commit(batch).await?;
        Ok(rows.len())
    }

    /// The newest transaction. Its body is empty if it was answered, or if there was none.
    pub(crate) async fn transaction(&self, service: &str) -> Result<Transaction, ReadError> {
        Ok(self.0.get::<Transactions>(service, ()).await?.unwrap_or_default())
    }

    /// Durable on return, since a transaction must never be sent with other events in it.
    pub(crate) async fn set_transaction(
        &self,
        service: &str,
        transaction: &Transaction,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        batch.put::<Transactions>(service, (), transaction);
        self.0.commit(batch).await.map(drop)
    }

    /// Returns before that is durable: it would be sent again as it was.
    pub(crate) fn settle(
        &self,
        service: &str,
        answered: &Transaction,
        events: &[Position],
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        let answered = Transaction { body: Bytes::new(), ..answered.clone() };
        batch.put::<Transactions>(service, (), &answered);
        for position in events {
            batch.delete::<Outbox>(service, *position);
        }
        self.0.submit(batch).map(drop)
    }
}
