//! Filters that clients upload once and name in `/sync`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::UserId;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{Accounts, StoreError};

const FILTER_BYTES_MAX: usize = 65_536;
/// Of one user. Clients have one or two and upload the same again; nobody ever deletes one.
const FILTERS_MAX: u64 = 1000;
const USER_BYTES_MAX: u64 = 4 << 20;
/// Of the hash that is the id: no two filters of one user meet in 96 bits.
const ID_BYTES: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("a filter has at most 64 KiB")]
    TooLarge,
    #[error("there are too many filters of this user")]
    TooMany,
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
        user_id: &UserId,
        filter: &RawValue,
    ) -> Result<String, FilterError> {
        let json = filter.get();
        if json.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLarge);
        }
        if !json.trim_ascii_start().starts_with('{') {
            return Err(FilterError::NotAnObject);
        }
        let hash = Sha256::digest(json);
        let id = URL_SAFE_NO_PAD.encode(&hash[..ID_BYTES]);
        let store = &self.inner.store;
        let put = {
            let _lock = self.inner.lock(user_id).await;
            if store.latest_filter(user_id, &id).await?.is_some() {
                None
            } else {
                let usage = store.filters_usage(user_id).await?.with(None, json.len());
                if usage.rows > FILTERS_MAX || usage.bytes > USER_BYTES_MAX {
                    return Err(FilterError::TooMany);
                }
                Some(store.put_filter(user_id, &id, json, usage)?)
            }
        };
        match put {
            Some(put) => drop(put.await.map_err(StoreError::from)?),
            // It may have been put by a request that is not answered yet.
            None => store.barrier().await?,
        }
        Ok(id)
    }

    pub async fn filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError> {
        let json = self.inner.store.filter(user_id, filter_id).await?;
        Ok(json.and_then(|json| RawValue::from_string(json).ok()))
    }
}
