//! The dehydrated device: which of a user's devices it is, and what is stored with it.

use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Pending, Table, Versioned};

use super::{DeviceStore, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DehydratedRecord {
    pub(crate) device_id: OwnedDeviceId,
    /// JSON text.
    pub(crate) device_data: String,
}

impl Versioned for DehydratedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user.
struct DehydratedTable;

impl Table for DehydratedTable {
    const NAME: &'static str = "dehydrated_devices";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = DehydratedRecord;
}

impl DeviceStore {
    pub(crate) async fn dehydrated(
        &self,
        user_id: &UserId,
    ) -> Result<Option<DehydratedRecord>, StoreError> {
        Ok(self.0.get::<DehydratedTable>(&user_id, ()).await?)
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_dehydrated(
        &self,
        user_id: &UserId,
    ) -> Result<Option<DehydratedRecord>, StoreError> {
        Ok(self.0.get_latest::<DehydratedTable>(&user_id, ()).await?)
    }

    pub(crate) fn put_dehydrated(
        &self,
        user_id: &UserId,
        record: &DehydratedRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<DehydratedTable>(&user_id, (), record);
        Ok(self.0.submit(batch)?)
    }

    /// A device that is deleted is no dehydrated device either.
    pub(super) async fn delete_dehydrated(
        &self,
        batch: &mut Batch,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<(), StoreError> {
        let record = self.latest_dehydrated(user_id).await?;
        if record.is_some_and(|record| record.device_id == device_id) {
            batch.delete::<DehydratedTable>(&user_id, ());
        }
        Ok(())
    }
}
