//! Passwords: Argon2id off the async threads, a bounded number at a time.

use ruma::UserId;

use crate::{Accounts, EndSessions, StoreError, User};

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Wrong password, no password, or no such user: not told apart.
    #[error("the user name or the password is wrong")]
    Wrong,
    #[error("the account has been deactivated")]
    Deactivated,
    #[error("the password is shorter than {0} bytes")]
    TooShort(usize),
    #[error("the password is longer than {0} bytes")]
    TooLong(usize),
    /// Too many passwords are being checked: try again in a moment.
    #[error("too many passwords are being checked")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn check_password(
        &self,
        _user_id: &UserId,
        _password: &str,
    ) -> Result<User, PasswordError> {
        unimplemented!()
    }

    pub async fn set_password(
        &self,
        _user_id: &UserId,
        _password: &str,
        _end: EndSessions,
    ) -> Result<(), PasswordError> {
        unimplemented!()
    }
}
