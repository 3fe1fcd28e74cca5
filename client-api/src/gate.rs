//! Admission: who is asking, and whether they may ask this often.

use std::{net::IpAddr, sync::Arc};

use accounts::{Accounts, Session, TokenError};
use devices::Devices;
use http::{HeaderMap, header, request::Parts};
use stdx::SharedClock;

use crate::{
    address::ClientAddress,
    config::Config,
    error::Error,
    limits::{Action, Limits, Subject},
};

/// What every extractor needs. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Accounts,
    devices: Devices,
    clock: SharedClock,
    limits: Limits,
    config: Config,
}

impl Gate {
    pub fn new(config: Config, accounts: Accounts, devices: Devices, clock: SharedClock) -> Self {
        let limits = Limits::new(&config.rate_limits);
        Self { inner: Arc::new(Inner { accounts, devices, clock, limits, config }) }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    pub(crate) fn address(&self, parts: &Parts) -> IpAddr {
        // Absent only where a test calls the router without a listener.
        let peer = parts.extensions.get::<ClientAddress>().map(|ClientAddress(peer)| peer.ip());
        let peer = peer.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        self.inner.config.trusted_proxies.client(peer, &parts.headers)
    }

    /// The bearer token of the request, from the header or, where allowed, from the query.
    pub(crate) fn token(&self, parts: &Parts) -> Result<Option<String>, Error> {
        if let Some(token) = bearer(&parts.headers) {
            return Ok(Some(token.to_owned()));
        }
        if !self.inner.config.query_tokens {
            return Ok(None);
        }
        let query = parts.uri.query().unwrap_or_default();
        #[derive(serde::Deserialize)]
        struct Token {
            access_token: Option<String>,
        }
        let token: Token = serde_html_form::from_str(query)
            .map_err(|_| Error::invalid_param("The query is not valid"))?;
        Ok(token.access_token)
    }

    pub(crate) fn session(&self, token: &str) -> Result<Session, Error> {
        self.inner.accounts.authenticate(token).map_err(Error::from)
    }

    /// Authenticates a request and notes that its device was seen.
    pub(crate) fn authenticate(&self, parts: &Parts) -> Result<Session, Error> {
        let token = self.token(parts)?.ok_or_else(Error::missing_token)?;
        let session = self.session(&token)?;
        let address = self.address(parts);
        self.inner.devices.seen(&session.user_id, &session.device_id, Some(address));
        Ok(session)
    }

    pub(crate) fn limit_user(&self, action: Action, session: &Session) -> Result<(), Error> {
        self.inner.limits.check(action, &Subject::User(session.user_id.clone()))
    }

    pub(crate) fn limit_address(&self, action: Action, address: IpAddr) -> Result<(), Error> {
        self.inner.limits.check(action, &Subject::Address(address))
    }

    /// Refuses an account for which too many log-ins have failed of late.
    pub(crate) fn may_log_in(&self, account: &str) -> Result<(), Error> {
        self.inner.limits.check_blocked(account)
    }

    pub(crate) fn login_failed(&self, account: &str) {
        self.inner.limits.login_failed(account);
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown => Self::unknown_token(false),
            TokenError::Expired => Self::unknown_token(true),
        }
    }
}
