//! How much a user keeps here, so that a bound on it need not read it all.

use ruma::UserId;
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Table, Versioned};

use super::{AccountStore, StoreError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) rows: u64,
    /// Of contents and names.
    pub(crate) bytes: u64,
}

impl Versioned for Usage {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    AccountData,
    Filters,
}

/// By user, by what is counted. No row for what is from before there were such rows.
struct UsageTable;

impl Table for UsageTable {
    const NAME: &'static str = "account_usage";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = Usage;
}

impl Usage {
    pub(crate) fn of(rows: impl Iterator<Item = usize>) -> Self {
        rows.fold(Self::default(), |usage, bytes| usage.with(None, bytes))
    }

    /// After a row of so many bytes is put in the place of another, or of none.
    pub(crate) fn with(self, before: Option<usize>, bytes: usize) -> Self {
        let rows = self.rows + u64::from(before.is_none());
        let freed = before.unwrap_or(0) as u64;
        Self { rows, bytes: (self.bytes + bytes as u64).saturating_sub(freed) }
    }
}

impl Kept {
    fn key(self) -> &'static str {
        match self {
            Self::AccountData => "account_data",
            Self::Filters => "filters",
        }
    }
}

impl AccountStore {
    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(super) async fn latest_usage(
        &self,
        user_id: &UserId,
        kept: Kept,
    ) -> Result<Option<Usage>, StoreError> {
        Ok(self.0.get_latest::<UsageTable>(&user_id, kept.key()).await?)
    }

    pub(super) fn put_usage(batch: &mut Batch, user_id: &UserId, kept: Kept, usage: Usage) {
        batch.put::<UsageTable>(&user_id, kept.key(), &usage);
    }
}
