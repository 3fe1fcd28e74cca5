//! The tables of this crate. Nothing else here names one.

mod account_data;
mod external_identities;
mod identity;
mod profiles;
mod reports;
mod sessions;
mod thread_subscriptions;
mod threepids;
mod usage;

pub(crate) use account_data::AccountDataRow;
pub(crate) use identity::{KeyRecord, RegistrationTokenRecord, UserRecord};
pub(crate) use profiles::ProfileRecord;
pub(crate) use reports::{ReportKey, ReportRecord};
pub(crate) use sessions::SessionRecord;
use storage::Store;
pub(crate) use thread_subscriptions::ThreadSubscriptionRow;
pub(crate) use threepids::{BindingKey, ThreepidRecord};

/// The store did not answer or did not accept a write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

/// The named operations on this crate's tables.
#[derive(Clone, Debug)]
pub(crate) struct AccountStore(pub(crate) Store);

impl AccountStore {
    /// For an answer that rests on a row which may not be on disk yet.
    pub(crate) async fn barrier(&self) -> Result<(), StoreError> {
        Ok(self.0.barrier().wait().await?)
    }
}
