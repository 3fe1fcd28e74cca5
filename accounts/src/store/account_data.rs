//! Account data by type, and an index of it by the position of the last change.

use bytes::Bytes;
use ruma::{OwnedRoomId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, Fact, First, Pending, Position, Range, Table, Versioned};

use super::{
    AccountStore, StoreError,
    usage::{Kept, Usage},
};
use crate::stream::{ACCOUNT_DATA, AccountDataFact};

/// Rows deleted in one batch.
const ERASED_AT_A_TIME: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountDataRecord {
    /// JSON text; `{}` once deleted.
    pub(crate) content: String,
    pub(crate) deleted: bool,
    pub(crate) position: Position,
}

impl AccountDataRecord {
    fn bytes(&self, room: &str, event_type: &str) -> usize {
        row_bytes(room, event_type, &self.content)
    }
}

fn row_bytes(room: &str, event_type: &str, content: &str) -> usize {
    room.len() + event_type.len() + content.len()
}

impl Versioned for AccountDataRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by room (empty for global) and type.
struct AccountDataTable;

impl Table for AccountDataTable {
    const NAME: &'static str = "account_data";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = (String, String);
    type Value = AccountDataRecord;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChangedRecord {
    room_id: String,
    event_type: String,
}

impl Versioned for ChangedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by position: one row for each row of account data.
struct AccountDataChangesTable;

impl Table for AccountDataChangesTable {
    const NAME: &'static str = "account_data_changes";
    type Partition = String;
    type Sort = u64;
    type Value = ChangedRecord;
}

pub(crate) struct AccountDataRow {
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) event_type: String,
    pub(crate) record: AccountDataRecord,
}

impl AccountDataRow {
    /// `None` if a stored room id is not one, which nothing here writes.
    fn new((room_id, event_type): (String, String), record: AccountDataRecord) -> Option<Self> {
        let room_id = match room_id.as_str() {
            "" => None,
            id => Some(RoomId::parse(id).ok()?),
        };
        Some(Self { room_id, event_type, record })
    }
}

fn room_key(room_id: Option<&RoomId>) -> &str {
    room_id.map_or("", RoomId::as_str)
}

impl AccountStore {
    pub(crate) async fn account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<AccountDataRecord>, StoreError> {
        let key = (&room_key(room_id), &event_type);
        Ok(self.0.get::<AccountDataTable>(&user_id, key).await?)
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<AccountDataRecord>, StoreError> {
        let key = (&room_key(room_id), &event_type);
        Ok(self.0.get_latest::<AccountDataTable>(&user_id, key).await?)
    }

    /// Of all of a user's account data. With what is not yet on disk; under the user's lock, if it is
    /// for a change.
    pub(crate) async fn account_data_usage(&self, user_id: &UserId) -> Result<Usage, StoreError> {
        if let Some(usage) = self.latest_usage(user_id, Kept::AccountData).await? {
            return Ok(usage);
        }
        let rows = self.all_account_data(user_id).await?;
        Ok(Usage::of(
            rows.iter()
                .map(|row| row.record.bytes(room_key(row.room_id.as_deref()), &row.event_type)),
        ))
    }

    /// Under the user's lock, `previous` and `usage` being the latest.
    pub(crate) fn put_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
        previous: (Option<&AccountDataRecord>, Usage),
        content: Option<&str>,
    ) -> Result<Pending, StoreError> {
        let room = room_key(room_id);
        let (previous, usage) = previous;
        let before = previous.map(|previous| previous.bytes(room, event_type));
        let usage = usage.with(before, row_bytes(room, event_type, content.unwrap_or("{}")));
        let fact = AccountDataFact {
            room_id: room_id.map(RoomId::to_owned),
            event_type: event_type.to_owned(),
        };
        let payload: Bytes =
            postcard::to_stdvec(&fact).expect("facts hold only what postcard can write").into();
        let changed = ChangedRecord { room_id: room.to_owned(), event_type: event_type.to_owned() };
        let submitted = self.0.submit_with::<CommitError>(|position| {
            let record = AccountDataRecord {
                content: content.unwrap_or("{}").to_owned(),
                deleted: content.is_none(),
                position,
            };
            let mut batch = Batch::new();
            batch.put::<AccountDataTable>(&user_id, (&room, &event_type), &record);
            if let Some(previous) = previous {
                batch.delete::<AccountDataChangesTable>(&user_id, previous.position);
            }
            batch.put::<AccountDataChangesTable>(&user_id, position, &changed);
            Self::put_usage(&mut batch, user_id, Kept::AccountData, usage);
            batch.fact(Fact { stream: ACCOUNT_DATA, subject: user_id.as_str().into(), payload });
            Ok(batch)
        })?;
        Ok(submitted)
    }

    pub(crate) async fn all_account_data(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<AccountDataRow>, StoreError> {
        self.account_data_in(user_id, Range::all()).await
    }

    pub(crate) async fn room_account_data(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<AccountDataRow>, StoreError> {
        self.account_data_in(user_id, Range::prefix((&room_id,))).await
    }

    /// Without telling anybody: for an account that has ended.
    pub(crate) async fn erase_account_data(&self, user_id: &UserId) -> Result<(), StoreError> {
        loop {
            let rows = self.account_data_in(user_id, Range::all().limit(ERASED_AT_A_TIME)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for AccountDataRow { room_id, event_type, record } in &rows {
                let key = (&room_key(room_id.as_deref()), event_type);
                batch.delete::<AccountDataTable>(&user_id, key);
                batch.delete::<AccountDataChangesTable>(&user_id, record.position);
            }
            Self::put_usage(&mut batch, user_id, Kept::AccountData, Usage::default());
            self.0.commit(batch).await?;
        }
    }

    async fn account_data_in(
        &self,
        user_id: &UserId,
        range: Range<(String, String)>,
    ) -> Result<Vec<AccountDataRow>, StoreError> {
        let rows = self.0.scan::<AccountDataTable>(&user_id, range).await?;
        let rows = rows.into_iter().filter_map(|row| AccountDataRow::new(row.sort, row.value));
        Ok(rows.collect())
    }

    pub(crate) async fn account_data_changes(
        &self,
        user_id: &UserId,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<AccountDataRow>, StoreError> {
        let range = Range::after(after).up_to(up_to);
        let changes = self.0.scan::<AccountDataChangesTable>(&user_id, range).await?;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            let ChangedRecord { room_id, event_type } = change.value;
            let key = (&room_id, &event_type);
            // If it has changed again meanwhile, it is reported at its new position.
            if let Some(record) = self.0.get::<AccountDataTable>(&user_id, key).await?
                && record.position == change.sort
            {
                rows.extend(AccountDataRow::new((room_id, event_type), record));
            }
        }
        Ok(rows)
    }
}
