//! Users, registration tokens and the keys that sign access tokens.

use ruma::UserId;
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Pending, Range, Table, Versioned};

use super::{
    AccountStore, StoreError,
    external_identities::put_identity,
    profiles::{ProfileRecord, ProfilesTable},
    threepids::{ThreepidRecord, put_threepid},
};
use crate::{ExternalIdentity, threepids::EMAIL};

/// There are few registration tokens and keys: each kind has one partition.
const ONLY: u8 = 0;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    /// In the PHC string format.
    pub(crate) password: Option<String>,
    pub(crate) guest: bool,
    pub(crate) admin: bool,
    pub(crate) deactivated: bool,
    pub(crate) erased: bool,
    pub(crate) created_ts: u64,
    pub(crate) epoch: u32,
    pub(crate) locked: bool,
    pub(crate) suspended: bool,
}

/// Before accounts could be locked or suspended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserRecordV1 {
    password: Option<String>,
    guest: bool,
    admin: bool,
    deactivated: bool,
    erased: bool,
    created_ts: u64,
    epoch: u32,
}

impl From<UserRecordV1> for UserRecord {
    fn from(old: UserRecordV1) -> Self {
        Self {
            password: old.password,
            guest: old.guest,
            admin: old.admin,
            deactivated: old.deactivated,
            erased: old.erased,
            created_ts: old.created_ts,
            epoch: old.epoch,
            locked: false,
            suspended: false,
        }
    }
}

impl Versioned for UserRecordV1 {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Versioned for UserRecord {
    const VERSION: u8 = 2;
    type Previous = UserRecordV1;
}

/// By user.
pub(super) struct UsersTable;

impl Table for UsersTable {
    const NAME: &'static str = "users";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = UserRecord;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistrationTokenRecord {
    pub(crate) uses_allowed: Option<u32>,
    pub(crate) uses: u32,
    pub(crate) expires_at: Option<u64>,
}

impl Versioned for RegistrationTokenRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By token.
struct RegistrationTokensTable;

impl Table for RegistrationTokensTable {
    const NAME: &'static str = "registration_tokens";
    const READ_AHEAD: bool = true;
    type Partition = u8;
    type Sort = String;
    type Value = RegistrationTokenRecord;
}

/// What signs access tokens and makes refresh tokens.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) signing_seed: [u8; 32],
    pub(crate) refresh_secret: [u8; 32],
    pub(crate) created_ts: u64,
}

impl Versioned for KeyRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By key number; the highest signs.
struct KeysTable;

impl Table for KeysTable {
    const NAME: &'static str = "token_keys";
    type Partition = u8;
    type Sort = u32;
    type Value = KeyRecord;
}

impl AccountStore {
    pub(crate) async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        Ok(self.0.get::<UsersTable>(&user_id, ()).await?)
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest_user(
        &self,
        user_id: &UserId,
    ) -> Result<Option<UserRecord>, StoreError> {
        Ok(self.0.get_latest::<UsersTable>(&user_id, ()).await?)
    }

    /// Refused as [`CommitError::Condition`] if the name is taken.
    pub(crate) fn create_user(
        &self,
        user_id: &UserId,
        record: &UserRecord,
        profile: &ProfileRecord,
        email: Option<&(&str, ThreepidRecord)>,
        identity: Option<&ExternalIdentity>,
    ) -> Result<Pending, CommitError> {
        let mut batch = Batch::new();
        batch.if_absent::<UsersTable>(&user_id, ());
        batch.put::<UsersTable>(&user_id, (), record);
        batch.put::<ProfilesTable>(&user_id, (), profile);
        if let Some((address, threepid)) = email {
            put_threepid(&mut batch, EMAIL, address, threepid);
        }
        if let Some(identity) = identity {
            put_identity(&mut batch, user_id, identity);
        }
        self.0.submit(batch)
    }

    pub(crate) fn update_user(
        &self,
        user_id: &UserId,
        record: &UserRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<UsersTable>(&user_id, (), record);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn latest_registration_token(
        &self,
        token: &str,
    ) -> Result<Option<RegistrationTokenRecord>, StoreError> {
        Ok(self.0.get_latest::<RegistrationTokensTable>(ONLY, &token).await?)
    }

    pub(crate) fn put_registration_token(
        &self,
        token: &str,
        record: &RegistrationTokenRecord,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<RegistrationTokensTable>(ONLY, &token, record);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) fn delete_registration_token(&self, token: &str) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.delete::<RegistrationTokensTable>(ONLY, &token);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn registration_tokens(
        &self,
    ) -> Result<Vec<(String, RegistrationTokenRecord)>, StoreError> {
        let rows = self.0.scan::<RegistrationTokensTable>(ONLY, Range::all()).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) async fn keys(&self) -> Result<Vec<(u32, KeyRecord)>, StoreError> {
        let rows = self.0.scan::<KeysTable>(ONLY, Range::all()).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    pub(crate) async fn put_key(&self, number: u32, record: &KeyRecord) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put::<KeysTable>(ONLY, number, record);
        self.0.commit(batch).await?;
        Ok(())
    }
}
