//! OpenID tokens: with one, a user shows a third party who they are, and nothing else.
//!
//! A token says whose it is and carries a signature of ours: nothing is stored, however many are
//! asked for, and a restart does not end them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{Accounts, StoreError};

/// Signed too, so that no signature of an access token is one of these.
const PREFIX: &str = "mro_";
/// Deployed servers give theirs an hour.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A user id of 255 bytes, encoded, fits.
const TOKEN_BYTES_MAX: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "u")]
    user_id: OwnedUserId,
    /// Milliseconds since the epoch.
    #[serde(rename = "e")]
    expires_at: u64,
}

impl Accounts {
    /// A token and how long it is good for.
    pub fn issue_openid_token(&self, user_id: &UserId) -> (String, Duration) {
        let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let expires_at = self.inner.clock.now_ms().saturating_add(lifetime);
        let claims = Claims { user_id: user_id.to_owned(), expires_at };
        let claims = serde_json::to_vec(&claims).expect("an id and a number serialise");
        let signed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.inner.keys.sign(signed.as_bytes()));
        (format!("{signed}.{signature}"), LIFETIME)
    }

    /// Whose token it is; `None` if it is not of this server, expired, or of an account that has
    /// ended.
    pub async fn openid_user(&self, token: &str) -> Result<Option<OwnedUserId>, StoreError> {
        let Some(Claims { user_id, expires_at }) = self.openid_claims(token) else {
            return Ok(None);
        };
        if expires_at <= self.inner.clock.now_ms() {
            return Ok(None);
        }
        let user = self.inner.store.user(&user_id).await?;
        Ok(user.filter(|user| !user.deactivated).map(|_| user_id))
    }

    fn openid_claims(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.split_once('.')?;
        let claims = signed.strip_prefix(PREFIX)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.inner.keys.has_signed(signed.as_bytes(), &signature) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}
