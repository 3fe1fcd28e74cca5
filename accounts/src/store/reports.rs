//! What users reported: one partition, since an operator reads them all, and there is a bound.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Pending, Range, Table, Versioned};

use super::{AccountStore, StoreError};

const ONLY: u8 = 0;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportRecord {
    pub(crate) reporter: OwnedUserId,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) event_id: Option<OwnedEventId>,
    pub(crate) user_id: Option<OwnedUserId>,
    pub(crate) reason: Option<String>,
}

impl Versioned for ReportRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By time in milliseconds, and a number that keeps two of one millisecond apart.
struct ReportsTable;

impl Table for ReportsTable {
    const NAME: &'static str = "reports";
    type Partition = u8;
    type Sort = (u64, u64);
    type Value = ReportRecord;
}

pub(crate) type ReportKey = (u64, u64);

impl AccountStore {
    /// Oldest first.
    pub(crate) async fn reports(&self) -> Result<Vec<(ReportKey, ReportRecord)>, StoreError> {
        let rows = self.0.scan::<ReportsTable>(ONLY, Range::all()).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) fn put_report(
        &self,
        key: ReportKey,
        report: &ReportRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<ReportsTable>(ONLY, key, report);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn delete_reports(&self, keys: &[ReportKey]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for key in keys {
            batch.delete::<ReportsTable>(ONLY, *key);
        }
        self.0.commit(batch).await?;
        Ok(())
    }
}
