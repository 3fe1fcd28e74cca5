//! Profiles, an index of them by the position of their last change, and filters.

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, Fact, First, Pending, Position, Range, Table, Versioned};

use super::{
    AccountStore, StoreError,
    usage::{Kept, Usage},
};
use crate::stream::{PROFILE, ProfileFact};

/// A whole profile is one row: it is small, and its size is limited as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileRecord {
    /// JSON text by field.
    pub(crate) fields: BTreeMap<String, String>,
}

impl Versioned for ProfileRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user.
pub(super) struct ProfilesTable;

impl Table for ProfilesTable {
    const NAME: &'static str = "profiles";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = ProfileRecord;
}

/// Fields of a profile of which it is kept when they changed last. A user can invent any number.
const MOVES_KEPT: usize = 100;

/// When which fields of a profile changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileMovesRecord {
    /// Of the newest change; 0 if there was none.
    pub(crate) position: Position,
    /// Each field once, the last change last.
    pub(crate) fields: Vec<(String, Position)>,
    /// What changed up to here may not be among the fields.
    pub(crate) forgotten: Position,
}

impl Versioned for ProfileMovesRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl ProfileMovesRecord {
    fn note(&mut self, field: &str, position: Position) {
        self.fields.retain(|(other, _)| other != field);
        self.fields.push((field.to_owned(), position));
        if self.fields.len() > MOVES_KEPT {
            (_, self.forgotten) = self.fields.remove(0);
        }
        self.position = position;
    }
}

/// By user.
struct ProfileMovesTable;

impl Table for ProfileMovesTable {
    const NAME: &'static str = "profile_moves";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = ProfileMovesRecord;
}

/// By writer and position: the user, once, at the newest change.
struct ProfileOrderTable;

impl Table for ProfileOrderTable {
    const NAME: &'static str = "profile_order";
    type Partition = u32;
    type Sort = u64;
    type Value = Bytes;
}

/// One machine is writer 0.
const WRITER: u32 = 0;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FilterRecord {
    json: String,
}

impl Versioned for FilterRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by filter id.
struct FiltersTable;

impl Table for FiltersTable {
    const NAME: &'static str = "filters";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = FilterRecord;
}

impl AccountStore {
    pub(crate) async fn profile(&self, user_id: &UserId) -> Result<ProfileRecord, StoreError> {
        Ok(self.0.get::<ProfilesTable>(&user_id, ()).await?.unwrap_or_default())
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_profile(
        &self,
        user_id: &UserId,
    ) -> Result<ProfileRecord, StoreError> {
        Ok(self.0.get_latest::<ProfilesTable>(&user_id, ()).await?.unwrap_or_default())
    }

    /// Under the user's lock. There is a fact for the first of the fields that changed, for which
    /// clients look at the others too.
    pub(crate) async fn put_profile(
        &self,
        user_id: &UserId,
        profile: &ProfileRecord,
        changed: &[&str],
    ) -> Result<Pending, StoreError> {
        let moves = self.0.get_latest::<ProfileMovesTable>(&user_id, ()).await?;
        let mut moves = moves.unwrap_or_default();
        let field = changed.first().copied().unwrap_or_default().to_owned();
        let payload: Bytes = postcard::to_stdvec(&ProfileFact { field })
            .expect("facts hold only what postcard can write")
            .into();
        Ok(self.0.submit_with::<CommitError>(|position| {
            let mut batch = Batch::new();
            batch.put::<ProfilesTable>(&user_id, (), profile);
            if moves.position > 0 {
                batch.derive_delete::<ProfileOrderTable>(WRITER, moves.position);
            }
            changed.iter().for_each(|field| moves.note(field, position));
            batch.put::<ProfileMovesTable>(&user_id, (), &moves);
            let id = Bytes::copy_from_slice(user_id.as_bytes());
            batch.derive_put::<ProfileOrderTable>(WRITER, position, &id);
            batch.fact(Fact { stream: PROFILE, subject: user_id.as_str().into(), payload });
            Ok(batch)
        })?)
    }

    pub(crate) async fn profile_moves(
        &self,
        user_id: &UserId,
    ) -> Result<ProfileMovesRecord, StoreError> {
        Ok(self.0.get::<ProfileMovesTable>(&user_id, ()).await?.unwrap_or_default())
    }

    pub(crate) async fn changed_profiles(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OwnedUserId)>, StoreError> {
        let range = Range::after(after).up_to(up_to).limit(limit);
        let rows = self.0.scan::<ProfileOrderTable>(WRITER, range).await?;
        let users = rows.into_iter().filter_map(|row| {
            let id = std::str::from_utf8(&row.value).ok()?;
            Some((row.sort, OwnedUserId::try_from(id).ok()?))
        });
        Ok(users.collect())
    }

    pub(crate) async fn filters_usage(&self, user_id: &UserId) -> Result<Usage, StoreError> {
        if let Some(usage) = self.latest_usage(user_id, Kept::Filters).await? {
            return Ok(usage);
        }
        let rows = self.0.scan::<FiltersTable>(&user_id, Range::all()).await?;
        Ok(Usage::of(rows.iter().map(|row| row.value.json.len())))
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let record = self.0.get_latest::<FiltersTable>(&user_id, &filter_id).await?;
        Ok(record.map(|record| record.json))
    }

    /// Under the user's lock; `usage` with the filter.
    pub(crate) fn put_filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
        json: &str,
        usage: Usage,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        let record = FilterRecord { json: json.to_owned() };
        batch.put::<FiltersTable>(&user_id, &filter_id, &record);
        Self::put_usage(&mut batch, user_id, Kept::Filters, usage);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let record = self.0.get::<FiltersTable>(&user_id, &filter_id).await?;
        Ok(record.map(|record| record.json))
    }
}
