//! What the binary decides about single sign-on.

use crate::{client_url::TrustedClients, template::Template};

/// What a page or a client shows of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Names it in paths and in the store: 1 to 64 of `A-Za-z0-9._~-`. Changed, its users are
    /// strangers.
    pub id: String,
    pub name: String,
    /// An `mxc://` URI.
    pub icon: Option<String>,
    /// Of the identifiers that clients know, such as `github`.
    pub brand: Option<String>,
}

/// What becomes of somebody who comes for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Newcomers {
    /// They get an account.
    pub register: bool,
    /// They get the account that has their name already, whoever made it.
    pub adopt_existing: bool,
}

#[derive(Clone, Debug)]
pub struct OidcProvider {
    pub provider: Provider,
    /// An URL; `/.well-known/openid-configuration` below it says everything else.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<String>,
    pub scopes: Vec<String>,
    /// The claim that identifies a user for good.
    pub subject_claim: String,
    /// The localpart of a newcomer, with claims in braces.
    pub localpart: String,
    /// Their display name, likewise. Left out if a claim of it is missing.
    pub display_name: Option<String>,
    pub newcomers: Newcomers,
}

#[derive(Clone, Debug)]
pub struct CasProvider {
    pub provider: Provider,
    /// The URL below which `/login` and `/proxyValidate` are.
    pub server_url: String,
    /// The attribute that holds a newcomer's display name.
    pub display_name_attribute: Option<String>,
    pub newcomers: Newcomers,
}

#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The URL by which browsers reach this server, without a slash at the end.
    pub public_url: String,
    /// Clients that get a login token without a question: URLs that theirs begin with.
    pub trusted_clients: Vec<String>,
    pub cas: Option<CasProvider>,
    pub oidc: Vec<OidcProvider>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("two identity providers have the id {0:?}")]
    SameId(String),
    #[error("{0:?} is no id of an identity provider: 1 to 64 of A-Z, a-z, 0-9 and ._~-")]
    Id(String),
    #[error("{0:?} is no http or https URL")]
    Url(String),
    #[error("{0:?} is no URL of a client")]
    Client(String),
    #[error("{0:?} is no template: claims are in braces, as in \"{{preferred_username}}\"")]
    Template(String),
}

const ID_CHARS_MAX: usize = 64;

impl Config {
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        let oidc = self.oidc.iter().map(|oidc| &oidc.provider);
        oidc.chain(self.cas.iter().map(|cas| &cas.provider))
    }

    /// Refuses what could not be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut ids = std::collections::BTreeSet::new();
        for Provider { id, .. } in self.providers() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
            if !(1..=ID_CHARS_MAX).contains(&id.len()) || !id.bytes().all(allowed) {
                return Err(ConfigError::Id(id.clone()));
            }
            if !ids.insert(id) {
                return Err(ConfigError::SameId(id.clone()));
            }
        }
        let issuers = self.oidc.iter().map(|oidc| &oidc.issuer);
        for text in issuers.chain(self.cas.iter().map(|cas| &cas.server_url)) {
            let url = url::Url::parse(text).ok();
            if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
                return Err(ConfigError::Url(text.clone()));
            }
        }
        for oidc in &self.oidc {
            for text in std::iter::once(&oidc.localpart).chain(&oidc.display_name) {
                Template::parse(text).ok_or_else(|| ConfigError::Template(text.clone()))?;
            }
        }
        TrustedClients::new(&self.trusted_clients).map(drop)
    }
}
