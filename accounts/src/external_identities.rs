//! Identities at other systems by which users come here: single sign-on.

use ruma::{OwnedUserId, UserId};

use crate::{Accounts, StoreError};

/// Who somebody is at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalIdentity {
    /// As the configuration calls it.
    pub provider: String,
    /// What the provider calls them; it never gives that to somebody else.
    pub subject: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the identity is that of another account")]
    InUse,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn user_of_identity(
        &self,
        identity: &ExternalIdentity,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        self.inner.store.identity(identity).await
    }

    /// The providers, of those that are configured, by which the user comes here.
    pub async fn providers_of(&self, user_id: &UserId) -> Result<Vec<String>, StoreError> {
        let configured = &self.inner.config.identity_providers;
        if configured.is_empty() {
            return Ok(Vec::new());
        }
        let identities = self.inner.store.identities_of(user_id).await?.into_iter();
        let mut providers: Vec<_> = identities
            .map(|identity| identity.provider)
            .filter(|provider| configured.contains(provider))
            .collect();
        providers.dedup();
        Ok(providers)
    }

    /// From now on whoever has the identity is this user, who exists. Again: no change.
    pub async fn link_identity(
        &self,
        user_id: &UserId,
        identity: &ExternalIdentity,
    ) -> Result<(), LinkError> {
        let linked = {
            let _lock = self.inner.identities.lock().await;
            match self.inner.store.latest_identity(identity).await? {
                Some(owner) if owner != *user_id => return Err(LinkError::InUse),
                Some(_) => None,
                None => Some(self.inner.store.put_identity(user_id, identity)?),
            }
        };
        match linked {
            Some(linked) => drop(linked.await.map_err(StoreError::from)?),
            None => self.inner.store.barrier().await?,
        }
        Ok(())
    }
}
