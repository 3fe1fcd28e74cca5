//! The table of this crate. Nothing else here names one.

use std::sync::Arc;

use ruma::UserId;
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Store, Table, Versioned};

/// The store did not answer or did not accept a write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastSeen {
    pub(crate) last_active_ts: Option<u64>,
    pub(crate) status_msg: Option<Arc<str>>,
}

impl Versioned for LastSeen {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user.
struct LastSeenTable;

impl Table for LastSeenTable {
    const NAME: &'static str = "presence_last_seen";
    type Partition = String;
    type Sort = ();
    type Value = LastSeen;
}

#[derive(Clone, Debug)]
pub(crate) struct LastSeenStore(pub(crate) Store);

impl LastSeenStore {
    pub(crate) async fn read(&self, user_id: &UserId) -> Result<Option<LastSeen>, StoreError> {
        Ok(self.0.get::<LastSeenTable>(&user_id, ()).await?)
    }

    fn batch(user_id: &UserId, seen: &LastSeen) -> Batch {
        let mut batch = Batch::new();
        batch.put::<LastSeenTable>(&user_id, (), seen);
        batch
    }

    pub(crate) async fn write(&self, user_id: &UserId, seen: &LastSeen) -> Result<(), StoreError> {
        self.0.commit(Self::batch(user_id, seen)).await?;
        Ok(())
    }

    /// Without waiting: if this is lost in a crash, only "last seen" is a little older.
    pub(crate) fn write_later(&self, user_id: &UserId, seen: &LastSeen) {
        if let Err(error) = self.0.submit(Self::batch(user_id, seen)) {
            tracing::debug!(%error, "last seen was not written");
        }
    }
}
