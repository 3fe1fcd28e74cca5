//! The handle that the edge holds: sending browsers away, and taking them in again.

use std::{sync::Arc, time::Duration};

use accounts::{Accounts, ShortLived, StoreError, UsernameError};
use ruma::UserId;
use sha2::{Digest as _, Sha256};
use stdx::{Rng, SharedClock};

use crate::{
    Arrival, Callback, ClientUrl, Config, ConfigError, Http, MayBeNamed, Provider,
    cas::Cas,
    client_url::TrustedClients,
    oidc::{Oidc, Secrets},
};

/// Browsers that are away at an OpenID provider; more push the oldest out.
const AWAY_MAX: usize = 20_000;
/// How long one may stay there: somebody may have to find their second factor.
const AWAY: Duration = Duration::from_secs(15 * 60);
/// 256 bits.
const SECRET_CHARS: usize = 43;

/// What a browser is sent to a provider for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To log in to this client.
    LogIn(ClientUrl),
    /// To complete `m.login.sso` in this session of user-interactive authentication.
    Confirm(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SsoError {
    #[error("there is no such identity provider")]
    NoProvider,
    /// For the log; a person is told that it did not work.
    #[error("the identity provider: {0}")]
    Provider(String),
    /// What the provider says about it, such as `access_denied`.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// Wrong, used before, or meant for somebody else.
    #[error("the proof is not valid: {0}")]
    InvalidProof(String),
    /// Nothing is known of it, or no longer, or it was another browser that began.
    #[error("this was not begun here, or too long ago")]
    Expired,
    #[error("people without an account are not given one")]
    NoNewcomers,
    #[error("the identity provider does not say what the user is called")]
    Nameless,
    #[error("{0}")]
    Name(UsernameError),
    #[error("the name is taken, and so are those like it")]
    NameTaken,
    #[error("this account has been deactivated")]
    Deactivated,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What it is built of.
pub struct Pieces {
    pub accounts: Accounts,
    pub clock: SharedClock,
    pub rng: Rng,
    pub http: Arc<dyn Http>,
}

/// Single sign-on. Cheap to clone.
#[derive(Clone)]
pub struct Sso {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) accounts: Accounts,
    pub(crate) trusted: TrustedClients,
    clock: SharedClock,
    rng: Rng,
    http: Arc<dyn Http>,
    providers: Vec<Provider>,
    cas: Option<Cas>,
    oidc: Vec<Oidc>,
    away: ShortLived<Away>,
}

/// A browser that went to an OpenID provider. Its `state` is the key.
#[derive(Debug)]
struct Away {
    provider: String,
    secrets: Secrets,
    browser: [u8; 32],
    goal: Goal,
}

impl Sso {
    pub fn new(config: Config, pieces: Pieces) -> Result<Self, ConfigError> {
        config.check()?;
        let Pieces { accounts, clock, rng, http } = pieces;
        let public_url = config.public_url.trim_end_matches('/').to_owned();
        let inner = Inner {
            accounts,
            trusted: TrustedClients::new(&config.trusted_clients)?,
            providers: config.providers().cloned().collect(),
            cas: config.cas.map(|cas| Cas::new(cas, &public_url)),
            oidc: config.oidc.into_iter().map(|oidc| Oidc::new(oidc, &public_url)).collect(),
            away: ShortLived::new(AWAY, AWAY_MAX),
            clock,
            rng,
            http,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Empty if nobody can come this way.
    pub fn providers(&self) -> &[Provider] {
        &self.inner.providers
    }

    pub fn cas(&self) -> Option<&Provider> {
        self.inner.cas.as_ref().map(|cas| &cas.config.provider)
    }

    /// The providers by which the user comes here.
    pub async fn providers_of(&self, user_id: &UserId) -> Result<Vec<Provider>, SsoError> {
        let ids = self.inner.accounts.providers_of(user_id).await?;
        let theirs = self.inner.providers.iter().filter(|provider| ids.contains(&provider.id));
        Ok(theirs.cloned().collect())
    }

    /// What a browser is known by again; a cookie tells it, and nothing else does.
    pub fn new_browser(&self) -> String {
        self.inner.rng.alphanumeric(SECRET_CHARS)
    }

    /// Where to send the browser.
    pub async fn begin(
        &self,
        provider: &str,
        goal: Goal,
        browser: &str,
    ) -> Result<String, SsoError> {
        let inner = &self.inner;
        if let Some(cas) = inner.cas.as_ref().filter(|cas| cas.config.provider.id == provider) {
            return cas.login_url(&goal);
        }
        let oidc = self.oidc(provider)?;
        let state = inner.rng.alphanumeric(SECRET_CHARS);
        let secrets = Secrets::new(&inner.rng);
        let now = inner.clock.now_ms();
        let url = oidc.login_url(&*inner.http, now, &state, &secrets).await?;
        let provider = provider.to_owned();
        let away = Away { provider, secrets, browser: Sha256::digest(browser).into(), goal };
        inner.away.insert(&state, away, now);
        Ok(url)
    }

    fn oidc(&self, provider: &str) -> Result<&Oidc, SsoError> {
        let mut all = self.inner.oidc.iter();
        all.find(|oidc| oidc.config.provider.id == provider).ok_or(SsoError::NoProvider)
    }

    /// A browser came back from a CAS server with a ticket.
    pub async fn take_cas_ticket(
        &self,
        ticket: &str,
        goal: Goal,
        may_be_named: MayBeNamed<'_>,
    ) -> Result<Arrival, SsoError> {
        let cas = self.inner.cas.as_ref().ok_or(SsoError::NoProvider)?;
        let person = cas.redeem(&*self.inner.http, ticket, &goal).await?;
        let of = (&*cas.config.provider.id, cas.config.newcomers);
        self.arrive(of, person, goal, may_be_named).await
    }

    /// A browser came back from an OpenID provider. `browser` is what it is known by.
    pub async fn take_oidc_callback(
        &self,
        callback: Callback,
        browser: Option<&str>,
        may_be_named: MayBeNamed<'_>,
    ) -> Result<Arrival, SsoError> {
        let inner = &self.inner;
        let away = inner.away.take(&callback.state, inner.clock.now_ms());
        let Away { provider, secrets, browser: expected, goal } = away.ok_or(SsoError::Expired)?;
        // Else somebody could have a victim's browser finish what they began themselves, or the
        // other way round.
        let is_same = browser.is_some_and(|it| <[u8; 32]>::from(Sha256::digest(it)) == expected);
        if !is_same {
            return Err(SsoError::Expired);
        }
        let oidc = self.oidc(&provider)?;
        let code = callback.code()?;
        let person = oidc.redeem(&*inner.http, inner.clock.now_ms(), &code, &secrets).await?;
        let of = (&*oidc.config.provider.id, oidc.config.newcomers);
        self.arrive(of, person, goal, may_be_named).await
    }
}
