//! Users: registration, look-up, deactivation.

use ruma::{OwnedUserId, UserId};

use crate::{Accounts, StoreError, UsernameError};

/// One account of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub user_id: OwnedUserId,
    pub guest: bool,
    pub admin: bool,
    pub deactivated: bool,
    pub has_password: bool,
    pub created_ts: u64,
    /// Raised when the password changes or the account ends; a session is only created for the
    /// epoch in which the user proved who they are.
    pub(crate) epoch: u32,
}

#[derive(Clone, Debug, Default)]
pub struct NewUser<'a> {
    /// Upper case is lowered. `None`: one is drawn.
    pub localpart: Option<&'a str>,
    pub password: Option<&'a str>,
    pub guest: bool,
    pub admin: bool,
    /// Spent if the registration succeeds.
    pub registration_token: Option<&'a str>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    InvalidUsername(#[from] UsernameError),
    #[error("the user name is taken")]
    UserInUse,
    /// M_WEAK_PASSWORD, or too many hashes at a time.
    #[error(transparent)]
    Password(#[from] crate::PasswordError),
    #[error("the registration token is not valid")]
    RegistrationToken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn register(&self, _user: NewUser<'_>) -> Result<User, RegisterError> {
        unimplemented!()
    }

    /// Whether `localpart` could be registered now.
    pub async fn is_available(&self, _localpart: &str) -> Result<(), RegisterError> {
        unimplemented!()
    }

    pub async fn user(&self, _user_id: &UserId) -> Result<Option<User>, StoreError> {
        unimplemented!()
    }

    /// Ends the account and all its sessions. The name stays taken. `erase` forgets the profile.
    /// `false` if there is no such user.
    pub async fn deactivate(&self, _user_id: &UserId, _erase: bool) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// `false` if there is no such user.
    pub async fn set_admin(&self, _user_id: &UserId, _admin: bool) -> Result<bool, StoreError> {
        unimplemented!()
    }
}
