//! Push rules: kept as the account data `m.push_rules`, parsed once.

use std::sync::Arc;

use ruma::{UserId, push::Ruleset};

use crate::{AccountDataError, Accounts, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum PushRulesError<E> {
    /// What the change itself returned; nothing was stored.
    #[error("the push rules were not changed")]
    Refused(E),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the push rules are too large")]
    TooLarge,
}

impl Accounts {
    /// The user's rules; the server's defaults for who never changed them.
    pub async fn push_rules(&self, _user_id: &UserId) -> Result<Arc<Ruleset>, StoreError> {
        unimplemented!()
    }

    /// Reads, changes and stores the rules while nobody else can.
    pub async fn change_push_rules<E>(
        &self,
        _user_id: &UserId,
        _change: impl FnOnce(&mut Ruleset) -> Result<(), E> + Send,
    ) -> Result<(), PushRulesError<E>>
    where
        E: Send,
    {
        let _ = AccountDataError::TooLarge;
        unimplemented!()
    }
}
