//! What the binary decides about accounts.

use std::time::Duration;

/// The plain configuration of this crate.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shortest password accepted, in bytes. The longest is 512.
    pub password_length_min: usize,
    /// Password hashes computed at a time: each takes 19 MiB and a core.
    pub password_hashes_parallel: usize,
    /// Password hashes that may wait; more are refused as [`PasswordError::Busy`](crate::PasswordError).
    pub password_hashes_queued: usize,
    /// Life of an access token in a session that can refresh it.
    pub refreshable_access_token_lifetime: Duration,
    /// Life of an access token in a session that cannot. `None`: until the session ends.
    pub access_token_lifetime: Option<Duration>,
    pub login_token_lifetime: Duration,
    /// Life of a user-interactive authentication session.
    pub uia_lifetime: Duration,
    /// The secret of `/_synapse/admin/v1/register`; `None` turns it off.
    pub registration_shared_secret: Option<Secret>,
    /// `org.matrix.login.jwt`; `None` turns it off.
    pub jwt: Option<JwtLogin>,
    /// Whoever asks for a mail to a registered address, or to an unknown one, is answered the same;
    /// the mail says what the matter is.
    pub hide_email_owners: bool,
    /// Hosts (with a port where it is not 443) to which a link in a mail may lead on.
    pub next_link_hosts: Vec<String>,
    /// Whether the default push rules look for mentions in the text, as before version 1.17 of the
    /// specification, of events that have no `m.mentions`.
    pub legacy_mentions: bool,
    /// The ids of the identity providers of single sign-on.
    pub identity_providers: Vec<String>,
    /// `None`: calls have to find their way alone.
    pub turn: Option<crate::Turn>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            password_length_min: 8,
            password_hashes_parallel: 4,
            password_hashes_queued: 64,
            refreshable_access_token_lifetime: Duration::from_secs(15 * 60),
            access_token_lifetime: None,
            login_token_lifetime: Duration::from_secs(2 * 60),
            // Somebody may have to find a mail meanwhile.
            uia_lifetime: Duration::from_secs(60 * 60),
            registration_shared_secret: None,
            jwt: None,
            hide_email_owners: true,
            next_link_hosts: Vec::new(),
            legacy_mentions: false,
            identity_providers: Vec::new(),
            turn: None,
        }
    }
}

/// Login by a JSON web token that somebody else signed.
#[derive(Clone, Debug)]
pub struct JwtLogin {
    pub key: JwtKey,
    pub algorithm: jsonwebtoken::Algorithm,
    /// The claim that holds the localpart.
    pub subject_claim: String,
    /// The claim that holds the display name of a user who logs in for the first time.
    pub display_name_claim: Option<String>,
    /// If set, `iss` must be present and equal.
    pub issuer: Option<String>,
    /// If set, `aud` must be present and match one. If empty, a token with `aud` is refused.
    pub audiences: Vec<String>,
}

/// What verifies a login token.
#[derive(Clone, Debug)]
pub enum JwtKey {
    /// A shared secret, for the HS algorithms.
    Secret(Secret),
    /// A public key in PEM form, for the others.
    PublicPem(String),
}

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
