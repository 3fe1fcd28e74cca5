//! What is scheduled and what became of it, by user, and when what is due.

use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Pending, Range, ReadError, Store, Table, Versioned};

use crate::Failure;

/// Rows that are read at a time.
const PAGE: usize = 1000;
const ALL: u32 = 0;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// The id of the event.
    Sent(String),
    Cancelled,
    Failed(Failure, String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DelayedRecord {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    /// JSON text.
    pub(crate) content: String,
    pub(crate) delay_ms: u64,
    /// When it was scheduled or put off last, in milliseconds.
    pub(crate) scheduled_at: u64,
    /// `origin_server_ts`, for those who may choose it.
    pub(crate) timestamp: Option<u64>,
    /// The device and the transaction by which it was scheduled, if there was one.
    pub(crate) txn: Option<(String, String)>,
    /// And when that was, in milliseconds.
    pub(crate) ended: Option<(u64, Ended)>,
}

impl DelayedRecord {
    pub(crate) fn due(&self) -> u64 {
        self.scheduled_at.saturating_add(self.delay_ms)
    }
}

impl Versioned for DelayedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by id.
struct DelayedTable;

impl Table for DelayedTable {
    const NAME: &'static str = "delayed_events";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = DelayedRecord;
}

/// One row for each that is scheduled, in the order of their times. Read when the process starts.
struct DueTable;

impl Table for DueTable {
    const NAME: &'static str = "delayed_events_due";
    type Partition = u32;
    type Sort = (u64, String, String);
    type Value = ();
}

/// By user, by room, device and transaction id: the id of what was scheduled.
struct TransactionsTable;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TransactionRecord {
    delay_id: String,
}

impl Versioned for TransactionRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for TransactionsTable {
    const NAME: &'static str = "delayed_events_txns";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = (String, String, String);
    type Value = TransactionRecord;
}

/// The time, the user and the id.
pub(crate) type Due = (u64, OwnedUserId, String);

#[derive(Clone)]
pub(crate) struct DelayedStore(pub(crate) Store);

impl DelayedStore {
    /// With what is not on disk yet; for a change, under the user's lock.
    pub(crate) async fn latest(
        &self,
        user: &UserId,
        id: &str,
    ) -> Result<Option<DelayedRecord>, ReadError> {
        self.0.get_latest::<DelayedTable>(&user, &id).await
    }

    pub(crate) async fn get(
        &self,
        user: &UserId,
        id: &str,
    ) -> Result<Option<DelayedRecord>, ReadError> {
        self.0.get::<DelayedTable>(&user, &id).await
    }

    /// All of a user, by id.
    pub(crate) async fn all(
        &self,
        user: &UserId,
    ) -> Result<Vec<(String, DelayedRecord)>, ReadError> {
        let rows = self.0.scan::<DelayedTable>(&user, Range::all()).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) async fn by_txn(
        &self,
        user: &UserId,
        room: &str,
        (device, txn): (&str, &str),
    ) -> Result<Option<String>, ReadError> {
        let sort = (&room, &device, &txn);
        let record = self.0.get_latest::<TransactionsTable>(&user, sort).await?;
        Ok(record.map(|record| record.delay_id))
    }

    /// Under the user's lock, `before` being the latest.
    pub(crate) fn put(
        &self,
        user: &UserId,
        id: &str,
        before: Option<&DelayedRecord>,
        after: &DelayedRecord,
        forgotten: &[(String, DelayedRecord)],
    ) -> Result<Pending, CommitError> {
        let mut batch = Batch::new();
        if let Some(before) = before.filter(|before| before.ended.is_none()) {
            batch.delete::<DueTable>(ALL, (before.due(), &user, &id));
        }
        batch.put::<DelayedTable>(&user, &id, after);
        if after.ended.is_none() {
            batch.put::<DueTable>(ALL, (after.due(), &user, &id), &());
        }
        if let Some((device, txn)) = &after.txn {
            let record = TransactionRecord { delay_id: id.to_owned() };
            let sort = (&after.room_id.as_str(), device, txn);
            batch.put::<TransactionsTable>(&user, sort, &record);
        }
        for (id, record) in forgotten {
            batch.delete::<DelayedTable>(&user, id);
            if let Some((device, txn)) = &record.txn {
                let sort = (&record.room_id.as_str(), device, txn);
                batch.delete::<TransactionsTable>(&user, sort);
            }
        }
        self.0.submit(batch)
    }

    /// Everything that is scheduled.
    pub(crate) async fn due(&self) -> Result<Vec<Due>, ReadError> {
        let mut found = Vec::new();
        let mut range = Range::all();
        loop {
            let rows = self.0.scan::<DueTable>(ALL, range.limit(PAGE)).await?;
            let Some(last) = rows.last() else { return Ok(found) };
            let (at, user, id) = &last.sort;
            range = Range::after((*at, user, id));
            let due = rows.iter().filter_map(|row| {
                let (at, user, id) = &row.sort;
                Some((*at, OwnedUserId::try_from(user.as_str()).ok()?, id.clone()))
            });
            found.extend(due);
        }
    }
}
