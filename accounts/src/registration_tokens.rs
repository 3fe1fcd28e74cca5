//! Registration tokens: created by an administrator, spent by registering.

use crate::{Accounts, StoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    pub token: String,
    pub uses_allowed: Option<u32>,
    pub uses: u32,
    pub expires_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct NewRegistrationToken {
    /// `None`: one is drawn.
    pub token: Option<String>,
    /// `None`: any number.
    pub uses_allowed: Option<u32>,
    /// Milliseconds since the epoch.
    pub expires_at: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationTokenError {
    #[error("a registration token has 1 to 64 characters of A-Z, a-z, 0-9 and ._~-")]
    Invalid,
    #[error("the registration token exists already")]
    Exists,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn create_registration_token(
        &self,
        _token: NewRegistrationToken,
    ) -> Result<RegistrationToken, RegistrationTokenError> {
        unimplemented!()
    }

    /// Whether the token could be spent now.
    pub async fn is_registration_token_valid(&self, _token: &str) -> Result<bool, StoreError> {
        unimplemented!()
    }

    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, StoreError> {
        unimplemented!()
    }

    /// `false` if there is no such token.
    pub async fn delete_registration_token(&self, _token: &str) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
