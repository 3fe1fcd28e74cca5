//! Admission: who is asking, and whether they may ask this often.

use std::{net::IpAddr, sync::Arc};

use accounts::{Accounts, Session, TokenError};
use appservice::Appservices;
use devices::Devices;
use http::{HeaderMap, header, request::Parts};
use stdx::SharedClock;

use crate::{
    address::ClientAddress,
    config::Config,
    error::Error,
    guests,
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
    appservices: Appservices,
    clock: SharedClock,
    limits: Limits,
    config: Config,
}

impl Gate {
    pub fn new(
        config: Config,
        accounts: Accounts,
        devices: Devices,
        appservices: Appservices,
        clock: SharedClock,
    ) -> Self {
        let limits = Limits::new(&config.rate_limits);
        Self { inner: Arc::new(Inner { accounts, devices, appservices, clock, limits, config }) }
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    pub(crate) fn devices(&self) -> &Devices {
        &self.inner.devices
    }

    pub(crate) fn appservices(&self) -> &Appservices {
        &self.inner.appservices
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
        let session = self.inner.accounts.authenticate(token)?;
        if session.locked { Err(Error::user_locked()) } else { Ok(session) }
    }

    /// Authenticates a request and notes that its device was seen.
    pub(crate) async fn authenticate(&self, parts: &Parts) -> Result<Session, Error> {
        let session = self.authenticate_even_locked(parts).await?;
        if session.locked {
            return Err(Error::user_locked());
        }
        if session.guest {
            guests::permit(&parts.method, parts.uri.path())?;
        }
        Ok(session)
    }

    /// As [`authenticate`](Self::authenticate), for the two endpoints that a locked account may use.
    pub(crate) async fn authenticate_even_locked(&self, parts: &Parts) -> Result<Session, Error> {
        let token = self.token(parts)?.ok_or_else(Error::missing_token)?;
        let session = match self.inner.appservices.by_token(&token) {
            Some(service) => self.act_as(service, parts).await?,
            None => self.inner.accounts.authenticate(&token)?,
        };
        let Some(device_id) = session.device() else { return Ok(session) };
        let address = self.address(parts);
        let user_agent =
            parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        self.inner.devices.seen(&session.user_id, device_id, Some(address), user_agent);
        Ok(session)
    }

    /// Refuses an account that is suspended: for everything that others would notice.
    pub(crate) fn may_act(&self, session: &Session) -> Result<(), Error> {
        let suspended = self.inner.accounts.is_suspended(session.id);
        if suspended { Err(Error::user_suspended()) } else { Ok(()) }
    }

    pub(crate) fn limit_user(&self, action: Action, session: &Session) -> Result<(), Error> {
        if session.appservice.as_ref().is_some_and(|service| !service.rate_limited) {
            return Ok(());
        }
        if !self.inner.limits.are_enabled() {
            return Ok(());
        }
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

/// What a request that waits is answered when [`Accounts::session_ended`] says that it need not.
pub(crate) fn session_over(accounts: &Accounts, session: &Session) -> Error {
    let locked = accounts.has_session(session.id);
    if locked { Error::user_locked() } else { Error::unknown_token(false) }
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
