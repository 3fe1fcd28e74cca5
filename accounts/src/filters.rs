//! Filters that clients upload once and name in `/sync`.

use ruma::UserId;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("a filter has at most 64 KiB")]
    TooLarge,
    #[error("a filter must be a JSON object")]
    NotAnObject,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Keeps a filter that the caller has validated and returns its id. The same filter has the
    /// same id.
    pub async fn create_filter(
        &self,
        _user_id: &UserId,
        _filter: &RawValue,
    ) -> Result<String, FilterError> {
        unimplemented!()
    }

    pub async fn filter(
        &self,
        _user_id: &UserId,
        _filter_id: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError> {
        unimplemented!()
    }
}
