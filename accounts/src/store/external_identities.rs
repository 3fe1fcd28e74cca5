//! Identities at identity providers, by identity and by user.

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Pending, Range, Table, Versioned};

use super::{AccountStore, StoreError};
use crate::ExternalIdentity;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IdentityRecord {
    user_id: OwnedUserId,
}

impl Versioned for IdentityRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By provider and subject: whose it is.
struct IdentitiesTable;

impl Table for IdentitiesTable {
    const NAME: &'static str = "external_identities";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = IdentityRecord;
}

/// By user, by provider and subject.
struct UserIdentitiesTable;

impl Table for UserIdentitiesTable {
    const NAME: &'static str = "user_external_identities";
    type Partition = String;
    type Sort = (String, String);
    type Value = ();
}

/// No provider's id has a space.
fn partition(identity: &ExternalIdentity) -> String {
    format!("{} {}", identity.provider, identity.subject)
}

/// Puts an identity beside an account, in whatever batch makes that true.
pub(super) fn put_identity(batch: &mut Batch, user_id: &UserId, identity: &ExternalIdentity) {
    let record = IdentityRecord { user_id: user_id.to_owned() };
    batch.put::<IdentitiesTable>(&partition(identity), (), &record);
    let ExternalIdentity { provider, subject } = identity;
    batch.put::<UserIdentitiesTable>(&user_id, (provider, subject), &());
}

impl AccountStore {
    pub(crate) async fn identity(
        &self,
        identity: &ExternalIdentity,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        let record = self.0.get::<IdentitiesTable>(&partition(identity), ()).await?;
        Ok(record.map(|record| record.user_id))
    }

    /// With what is submitted but not yet on disk; for a change, under the lock of identities.
    pub(crate) async fn latest_identity(
        &self,
        identity: &ExternalIdentity,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        let record = self.0.get_latest::<IdentitiesTable>(&partition(identity), ()).await?;
        Ok(record.map(|record| record.user_id))
    }

    /// In order of provider and subject.
    pub(crate) async fn identities_of(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<ExternalIdentity>, StoreError> {
        let rows = self.0.scan::<UserIdentitiesTable>(&user_id, Range::all()).await?.into_iter();
        let identities = rows.map(|row| {
            let (provider, subject) = row.sort;
            ExternalIdentity { provider, subject }
        });
        Ok(identities.collect())
    }

    pub(crate) fn put_identity(
        &self,
        user_id: &UserId,
        identity: &ExternalIdentity,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        put_identity(&mut batch, user_id, identity);
        Ok(self.0.submit(batch)?)
    }
}
