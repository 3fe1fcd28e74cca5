//! `[login.cas]`, `[[login.oidc]]` and `[captcha]`: others who say who somebody is, or that they are
//! somebody.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{section::section, sections::Config};

section! {
    /// Log in at a CAS server. See docs/single-sign-on.md.
    pub struct Cas {
        /// Its address, such as "https://cas.example.org/cas". Left out, there is none.
        server_url: Option<String> = None,
        /// What it is called in clients.
        name: String = "CAS".to_owned(),
        /// The attribute that holds the display name of a new user.
        display_name_attribute: Option<String> = None,
        /// Whether who comes from there for the first time gets an account.
        register_new_users: bool = true,
        /// Whether they get the account that has their name already. Only if nobody can make an
        /// account here under the name of somebody there.
        allow_existing_users: bool = false,
    }
}

section! {
    /// Captchas, as reCAPTCHA (version 2) shows and checks them.
    pub struct CaptchaSection {
        /// The key that clients show the captcha with ("site key").
        public_key: Option<String> = None,
        /// The key that answers are checked with ("secret key").
        private_key: Option<String> = None,
        /// Where answers are checked.
        verify_url: String = "https://www.recaptcha.net/recaptcha/api/siteverify".to_owned(),
    }
}

/// One `[[login.oidc]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    id: String,
    name: String,
    icon: Option<String>,
    brand: Option<String>,
    issuer: String,
    client_id: String,
    client_secret: Option<String>,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    #[serde(default = "subject_claim")]
    subject_claim: String,
    #[serde(default = "localpart")]
    localpart: String,
    #[serde(default = "display_name")]
    display_name: Option<String>,
    #[serde(default = "yes")]
    register_new_users: bool,
    #[serde(default)]
    allow_existing_users: bool,
}

fn scopes() -> Vec<String> {
    vec!["openid".to_owned(), "profile".to_owned()]
}

fn subject_claim() -> String {
    "sub".to_owned()
}

fn localpart() -> String {
    "{preferred_username}".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional value")]
fn display_name() -> Option<String> {
    Some("{name}".to_owned())
}

fn yes() -> bool {
    true
}

/// The keys of a captcha, if there is one.
#[derive(Clone)]
pub(crate) struct Captcha {
    pub(crate) public_key: String,
    pub(crate) private_key: String,
    pub(crate) verify_url: String,
}

impl Oidc {
    fn provider(&self) -> sso::OidcProvider {
        sso::OidcProvider {
            provider: sso::Provider {
                id: self.id.clone(),
                name: self.name.clone(),
                icon: self.icon.clone(),
                brand: self.brand.clone(),
            },
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            scopes: self.scopes.clone(),
            subject_claim: self.subject_claim.clone(),
            localpart: self.localpart.clone(),
            display_name: self.display_name.clone(),
            newcomers: sso::Newcomers {
                register: self.register_new_users,
                adopt_existing: self.allow_existing_users,
            },
        }
    }
}

impl Cas {
    fn provider(&self) -> Option<sso::CasProvider> {
        let provider = sso::Provider {
            id: "cas".to_owned(),
            name: self.name.clone(),
            icon: None,
            brand: None,
        };
        Some(sso::CasProvider {
            provider,
            server_url: self.server_url.clone()?,
            display_name_attribute: self.display_name_attribute.clone(),
            newcomers: sso::Newcomers {
                register: self.register_new_users,
                adopt_existing: self.allow_existing_users,
            },
        })
    }
}

impl Config {
    pub(crate) fn sso(&self) -> anyhow::Result<sso::Config> {
        let config = sso::Config {
            public_url: self.public_url.clone().unwrap_or_default(),
            trusted_clients: self.login.trusted_clients.clone(),
            cas: self.login.cas.provider(),
            oidc: self.login.oidc.iter().map(Oidc::provider).collect(),
        };
        config.check().context("[login]")?;
        ensure!(
            self.public_url.is_some() || config.providers().next().is_none(),
            "[login] single sign-on needs a `public_url` for browsers to come back to"
        );
        Ok(config)
    }

    pub(crate) fn captcha(&self) -> anyhow::Result<Option<Captcha>> {
        let section = &self.captcha;
        let keys = section.public_key.clone().zip(section.private_key.clone());
        ensure!(
            keys.is_some() || (section.public_key.is_none() && section.private_key.is_none()),
            "[captcha] needs both `public_key` and `private_key`"
        );
        ensure!(
            keys.is_some() || !self.registration.require_captcha,
            "[registration] `require_captcha` needs [captcha]"
        );
        Ok(keys.map(|(public_key, private_key)| Captcha {
            public_key,
            private_key,
            verify_url: section.verify_url.clone(),
        }))
    }
}
