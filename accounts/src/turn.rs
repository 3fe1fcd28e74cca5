//! Credentials for TURN servers, which carry calls: good for a while, made of a secret that this
//! server shares with them ("TURN REST API", which coturn calls `use-auth-secret`).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ruma::UserId;
use sha1::Sha1;

use crate::{Accounts, Secret};

/// The TURN servers of this region.
#[derive(Clone, Debug)]
pub struct Turn {
    pub uris: Vec<String>,
    pub secret: Secret,
    pub lifetime: Duration,
}

/// What a client logs in with at the TURN servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnCredentials {
    pub username: String,
    pub password: String,
    pub uris: Vec<String>,
    pub lifetime: Duration,
}

impl Accounts {
    /// `None` if this region has no TURN servers.
    pub fn turn_credentials(&self, user_id: &UserId) -> Option<TurnCredentials> {
        let Turn { uris, secret, lifetime } = self.inner.config.turn.as_ref()?;
        let expires_at = self.inner.clock.now_ms() / 1000 + lifetime.as_secs();
        let username = format!("{expires_at}:{user_id}");
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret.expose()).expect("HMAC takes a key of any length");
        mac.update(username.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        Some(TurnCredentials { username, password, uris: uris.clone(), lifetime: *lifetime })
    }
}
