//! Sessions: rows in the user's partition, and an index by which all are found at the start.

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Pending, Range, Table, Versioned};

use super::{
    AccountStore, StoreError,
    identity::{UserRecord, UsersTable},
};

/// The index is spread over this many partitions.
const INDEX_PARTITIONS: u64 = 64;
const PAGE: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) created_ts: u64,
    pub(crate) refreshable: bool,
    /// Of the tokens in use.
    pub(crate) generation: u32,
    /// The pair after it has been handed out but not used yet; its access token's expiry.
    pub(crate) next_expires_at: Option<u64>,
}

impl Versioned for SessionRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by session id.
struct SessionsTable;

impl Table for SessionsTable {
    const NAME: &'static str = "sessions";
    type Partition = String;
    type Sort = u64;
    type Value = SessionRecord;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OwnerRecord {
    user_id: OwnedUserId,
}

impl Versioned for OwnerRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By part of the session id, by session id.
struct SessionIndexTable;

impl Table for SessionIndexTable {
    const NAME: &'static str = "session_index";
    type Partition = u8;
    type Sort = u64;
    type Value = OwnerRecord;
}

fn index_partition(id: u64) -> u8 {
    u8::try_from(id % INDEX_PARTITIONS).unwrap_or(0)
}

fn delete_rows(batch: &mut Batch, user_id: &UserId, ids: &[u64]) {
    for &id in ids {
        batch.delete::<SessionsTable>(&user_id, id);
        batch.derive_delete::<SessionIndexTable>(index_partition(id), id);
    }
}

impl AccountStore {
    /// Creates a session and ends those that it replaces.
    pub(crate) fn create_session(
        &self,
        user_id: &UserId,
        id: u64,
        record: &SessionRecord,
        replaced: &[u64],
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        delete_rows(&mut batch, user_id, replaced);
        batch.put::<SessionsTable>(&user_id, id, record);
        let owner = OwnerRecord { user_id: user_id.to_owned() };
        batch.derive_put::<SessionIndexTable>(index_partition(id), id, &owner);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) fn update_session(
        &self,
        user_id: &UserId,
        id: u64,
        record: &SessionRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<SessionsTable>(&user_id, id, record);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) fn delete_sessions(
        &self,
        user_id: &UserId,
        ids: &[u64],
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        delete_rows(&mut batch, user_id, ids);
        Ok(self.0.submit(batch)?)
    }

    /// A change of the user and the sessions that end with it, in one.
    pub(crate) fn update_user_and_end_sessions(
        &self,
        user_id: &UserId,
        record: &UserRecord,
        ids: &[u64],
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<UsersTable>(&user_id, (), record);
        delete_rows(&mut batch, user_id, ids);
        Ok(self.0.submit(batch)?)
    }

    /// Every session there is, for the table in memory.
    pub(crate) async fn all_sessions(
        &self,
        mut each: impl FnMut(u64, OwnedUserId, SessionRecord),
    ) -> Result<(), StoreError> {
        for partition in (0..INDEX_PARTITIONS).map(index_partition) {
            let mut range = Range::all().limit(PAGE);
            loop {
                let rows = self.0.scan::<SessionIndexTable>(partition, range).await?;
                let Some(last) = rows.last().map(|row| row.sort) else { break };
                for row in rows {
                    let user_id = row.value.user_id;
                    let session = self.0.get::<SessionsTable>(&user_id, row.sort).await?;
                    if let Some(session) = session {
                        each(row.sort, user_id, session);
                    }
                }
                range = Range::after(last).limit(PAGE);
            }
        }
        Ok(())
    }
}
