//! Profiles of users of other servers, which only those know.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use ruma::UserId;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

/// The fields of a profile.
pub type ProfileFields = BTreeMap<String, Box<RawValue>>;

/// Asks other servers; what this crate needs of federation.
pub trait RemoteProfiles: Send + Sync {
    /// `None` if there is no such user, or their server does not answer. Bounded in time and size.
    fn profile<'a>(
        &'a self,
        user_id: &'a UserId,
    ) -> Pin<Box<dyn Future<Output = Option<ProfileFields>> + Send + 'a>>;
}

impl Accounts {
    /// Says who is asked for the profiles of others' users. Only the first call counts.
    pub fn set_remote_profiles(&self, remote: Arc<dyn RemoteProfiles>) {
        let _first_counts = self.inner.remote_profiles.set(remote);
    }

    /// As [`profile_fields`](Self::profile_fields), wherever the user belongs.
    pub async fn find_profile(
        &self,
        user_id: &UserId,
    ) -> Result<Option<ProfileFields>, StoreError> {
        if user_id.server_name() == self.inner.server_name {
            return self.profile_fields(user_id).await;
        }
        match self.inner.remote_profiles.get() {
            Some(remote) => Ok(remote.profile(user_id).await),
            None => Ok(None),
        }
    }
}
