//! Login tokens (`m.login.token`): short-lived, taken once, in memory.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};

use crate::{Accounts, once::ShortLived};

const KEPT: usize = 10_000;
/// 256 bits.
const TOKEN_CHARS: usize = 43;

#[derive(Debug)]
pub(crate) struct LoginTokens {
    tokens: ShortLived<OwnedUserId>,
    lifetime: Duration,
}

impl LoginTokens {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { tokens: ShortLived::new(lifetime, KEPT), lifetime }
    }
}

impl Accounts {
    pub fn issue_login_token(&self, user_id: &UserId) -> (String, Duration) {
        let inner = &self.inner;
        let token = inner.rng.alphanumeric(TOKEN_CHARS);
        inner.login_tokens.tokens.insert(&token, user_id.to_owned(), inner.clock.now_ms());
        (token, inner.login_tokens.lifetime)
    }

    /// `None` if the token is unknown, expired or was taken before.
    pub fn take_login_token(&self, token: &str) -> Option<OwnedUserId> {
        self.inner.login_tokens.tokens.take(token, self.inner.clock.now_ms())
    }
}
