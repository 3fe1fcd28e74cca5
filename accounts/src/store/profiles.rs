//! Profiles and filters.

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use storage::{Batch, Fact, First, Pending, Table, Versioned};

use super::{AccountStore, StoreError};
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

    pub(crate) fn put_profile(
        &self,
        user_id: &UserId,
        profile: &ProfileRecord,
        changed_field: &str,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<ProfilesTable>(&user_id, (), profile);
        let fact = ProfileFact { field: changed_field.to_owned() };
        let payload: Bytes =
            postcard::to_stdvec(&fact).expect("facts hold only what postcard can write").into();
        batch.fact(Fact { stream: PROFILE, subject: user_id.as_str().into(), payload });
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn put_filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
        json: &str,
    ) -> Result<(), StoreError> {
        if self.filter(user_id, filter_id).await?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::new();
        let record = FilterRecord { json: json.to_owned() };
        batch.put::<FiltersTable>(&user_id, &filter_id, &record);
        self.0.commit(batch).await?;
        Ok(())
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
