//! What can be configured at this edge, as typed values; the binary parses the text.

use std::time::Duration;

use serde::Serialize;

use crate::address::TrustedProxies;

#[derive(Clone, Debug)]
pub struct Config {
    /// Accept `?access_token=` besides the `Authorization` header. Deprecated since Matrix 1.11.
    pub query_tokens: bool,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    pub registration: Registration,
    /// Offer `m.login.password`.
    pub password_login: bool,
    /// What the pages of `m.login.recaptcha` and clients need, if there are captchas.
    pub captcha_public_key: Option<String>,
    /// Answer searches of messages; counts only where they are indexed.
    pub search: bool,
    /// What `/.well-known/matrix/client` advertises, if anything.
    pub public_url: Option<String>,
    /// What `/.well-known/matrix/support` says.
    pub support: Support,
    pub rate_limits: RateLimits,
    pub trusted_proxies: TrustedProxies,
    /// Open sockets of one device; the oldest is closed beyond that.
    pub sockets_per_device: usize,
    /// Open sockets of one user.
    pub sockets_per_user: usize,
    /// Serve the legacy WebSocket paths with a token in the query.
    pub legacy_websocket: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            query_tokens: true,
            // What Synapse accepts: the size of 200 events.
            body_bytes_max: 200 * 65_536,
            body_timeout: Duration::from_secs(60),
            registration: Registration::default(),
            password_login: true,
            captcha_public_key: None,
            search: true,
            public_url: None,
            support: Support::default(),
            rate_limits: RateLimits::default(),
            trusted_proxies: TrustedProxies::default(),
            sockets_per_device: 8,
            sockets_per_user: 32,
            legacy_websocket: false,
        }
    }
}

/// Whom users and those who run other servers may turn to.
#[derive(Clone, Debug, Default)]
pub struct Support {
    pub contacts: Vec<Contact>,
    pub support_page: Option<String>,
}

/// A Matrix id, an email address, or both.
#[derive(Clone, Debug, Serialize)]
pub struct Contact {
    pub role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

/// Who may create an account through a client.
#[derive(Clone, Debug)]
pub struct Registration {
    pub enabled: bool,
    pub require_token: bool,
    pub guests: bool,
    /// An email address has to be confirmed; counts only where mails are sent.
    pub require_email: bool,
    /// A captcha has to be solved; counts only where there is a key for it.
    pub require_captcha: bool,
    /// A link to terms that have to be accepted.
    pub terms_url: Option<String>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            enabled: true,
            require_token: false,
            guests: false,
            require_email: false,
            require_captcha: false,
            terms_url: None,
        }
    }
}

/// A rate that may be exceeded for a moment: `burst` requests at once, `per_second` in the long
/// run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    pub burst: u32,
}

/// How often one user or address may do what. Far above what a person does; below what hurts.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    pub enabled: bool,
    /// Events sent, per user.
    pub message: Rate,
    /// Log-ins, per address.
    pub login: Rate,
    /// Log-ins that failed, per account that was tried.
    pub failed_login: Rate,
    /// Registrations, per address.
    pub registration: Rate,
    /// Joins and knocks, per user.
    pub join: Rate,
    /// Invites, per user.
    pub invite: Rate,
    /// Rooms created or upgraded, per user.
    pub room_creation: Rate,
    /// Mails asked for, per address.
    pub mail: Rate,
    /// Every other endpoint that the specification marks as rate-limited, per user or address.
    pub other: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            enabled: true,
            message: rate(20.0, 200),
            login: rate(5.0, 300),
            failed_login: rate(0.2, 10),
            registration: rate(3.0, 300),
            join: rate(5.0, 200),
            invite: rate(5.0, 200),
            room_creation: rate(2.0, 200),
            mail: rate(0.05, 10),
            other: rate(100.0, 1_000),
        }
    }
}
