//! Email addresses of accounts, by account and by address, and what is bound at identity servers.

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Pending, Range, Table, Versioned};

use super::{AccountStore, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreepidRecord {
    pub(crate) user_id: OwnedUserId,
    pub(crate) validated_ts: u64,
    pub(crate) added_ts: u64,
}

impl Versioned for ThreepidRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By medium and address: whose it is.
struct ThreepidsTable;

impl Table for ThreepidsTable {
    const NAME: &'static str = "threepids";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = ThreepidRecord;
}

/// By user, by medium and address.
struct UserThreepidsTable;

impl Table for UserThreepidsTable {
    const NAME: &'static str = "user_threepids";
    type Partition = String;
    type Sort = (String, String);
    type Value = ThreepidRecord;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BindingRecord {
    bound_ts: u64,
}

impl Versioned for BindingRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by medium, address and identity server.
struct BindingsTable;

impl Table for BindingsTable {
    const NAME: &'static str = "threepid_bindings";
    type Partition = String;
    type Sort = (String, String, String);
    type Value = BindingRecord;
}

/// Medium, address, identity server.
pub(crate) type BindingKey = (String, String, String);

fn partition(medium: &str, address: &str) -> String {
    format!("{medium} {address}")
}

/// Puts an address beside an account, in whatever batch makes that true.
pub(super) fn put_threepid(
    batch: &mut Batch,
    medium: &str,
    address: &str,
    record: &ThreepidRecord,
) {
    batch.put::<ThreepidsTable>(&partition(medium, address), (), record);
    batch.put::<UserThreepidsTable>(&record.user_id, (&medium, &address), record);
}

impl AccountStore {
    pub(crate) async fn threepid(
        &self,
        medium: &str,
        address: &str,
    ) -> Result<Option<ThreepidRecord>, StoreError> {
        Ok(self.0.get::<ThreepidsTable>(&partition(medium, address), ()).await?)
    }

    /// With what is submitted but not yet on disk; for a change, under the lock of addresses.
    pub(crate) async fn latest_threepid(
        &self,
        medium: &str,
        address: &str,
    ) -> Result<Option<ThreepidRecord>, StoreError> {
        Ok(self.0.get_latest::<ThreepidsTable>(&partition(medium, address), ()).await?)
    }

    /// In order of medium and address.
    pub(crate) async fn user_threepids(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<((String, String), ThreepidRecord)>, StoreError> {
        let rows = self.0.scan::<UserThreepidsTable>(&user_id, Range::all()).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) fn put_threepid(
        &self,
        medium: &str,
        address: &str,
        record: &ThreepidRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        put_threepid(&mut batch, medium, address, record);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) fn delete_threepids(
        &self,
        user_id: &UserId,
        threepids: &[(String, String)],
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        for (medium, address) in threepids {
            batch.delete::<ThreepidsTable>(&partition(medium, address), ());
            batch.delete::<UserThreepidsTable>(&user_id, (medium, address));
        }
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn bindings(&self, user_id: &UserId) -> Result<Vec<BindingKey>, StoreError> {
        let rows = self.0.scan::<BindingsTable>(&user_id, Range::all()).await?;
        Ok(rows.into_iter().map(|row| row.sort).collect())
    }

    pub(crate) async fn put_binding(
        &self,
        user_id: &UserId,
        (medium, address, server): &BindingKey,
        bound_ts: u64,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let record = BindingRecord { bound_ts };
        batch.put::<BindingsTable>(&user_id, (medium, address, server), &record);
        self.0.commit(batch).await?;
        Ok(())
    }

    pub(crate) async fn delete_binding(
        &self,
        user_id: &UserId,
        (medium, address, server): &BindingKey,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.delete::<BindingsTable>(&user_id, (medium, address, server));
        self.0.commit(batch).await?;
        Ok(())
    }
}
