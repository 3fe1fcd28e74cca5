//! Login tokens (`m.login.token`): short-lived, taken once, in memory.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};

use crate::Accounts;

impl Accounts {
    pub fn issue_login_token(&self, _user_id: &UserId) -> (String, Duration) {
        unimplemented!()
    }

    /// `None` if the token is unknown, expired or was taken before.
    pub fn take_login_token(&self, _token: &str) -> Option<OwnedUserId> {
        unimplemented!()
    }
}
