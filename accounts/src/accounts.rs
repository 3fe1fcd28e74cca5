//! The handle that other crates hold.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

use quick_cache::sync::Cache;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, push::Ruleset};
use stdx::{Rng, SharedClock};
use storage::Store;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use crate::{
    captcha::{CHECKING_MAX, CaptchaVerifier},
    config::Config,
    email_validation::EmailSessions,
    identity_servers::IdentityServers,
    jwt_login::JwtVerifier,
    login_tokens::LoginTokens,
    mail::{MailCounts, Mailer, SENDING_MAX},
    passwords::PasswordHashing,
    profiles::Profile,
    registrations::Registrations,
    remote_profiles::RemoteProfiles,
    reports::ReportCounts,
    sessions::SessionTable,
    shared_secret::Nonces,
    store::{AccountStore, StoreError},
    tokens::TokenKeys,
    uia::UiaSessions,
    user_source::UserSource,
    username,
};

/// Changes of one user pass one lock; users share this many.
const LOCKS: usize = 256;
const CACHED_PROFILES: usize = 20_000;
const CACHED_PUSH_RULES: usize = 20_000;

/// All accounts of this server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: AccountStore,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) server_name: OwnedServerName,
    pub(crate) keys: TokenKeys,
    pub(crate) sessions: SessionTable,
    pub(crate) hashing: PasswordHashing,
    pub(crate) jwt: Option<JwtVerifier>,
    pub(crate) login_tokens: LoginTokens,
    pub(crate) nonces: Nonces,
    pub(crate) uia: UiaSessions,
    pub(crate) registrations: Registrations,
    pub(crate) emails: EmailSessions,
    pub(crate) mail_counts: MailCounts,
    pub(crate) mails_sending: Semaphore,
    pub(crate) mailer: OnceLock<Arc<dyn Mailer>>,
    pub(crate) captcha: OnceLock<Arc<dyn CaptchaVerifier>>,
    pub(crate) captchas_checking: Semaphore,
    pub(crate) identity_servers: OnceLock<Arc<dyn IdentityServers>>,
    /// Adding addresses to accounts, and taking them away. Taken after a user's lock.
    pub(crate) threepids: Mutex<()>,
    /// Saying whose an identity at a provider is. Taken after a user's lock and that of addresses.
    pub(crate) identities: Mutex<()>,
    pub(crate) profiles: Cache<OwnedUserId, Arc<Profile>>,
    /// `None` for those who never changed them.
    pub(crate) push_rules: Cache<OwnedUserId, Option<Arc<Ruleset>>>,
    /// Spending registration tokens and changing their number.
    pub(crate) registration_tokens: Mutex<()>,
    /// `None` until they are counted.
    pub(crate) reports: Mutex<Option<ReportCounts>>,
    pub(crate) remote_profiles: OnceLock<Arc<dyn RemoteProfiles>>,
    pub(crate) user_source: OnceLock<Arc<dyn UserSource>>,
    hasher: RandomState,
    locks: Vec<Mutex<()>>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the key for login by JWT cannot be used: {0}")]
    JwtKey(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Loads the session table and the signing keys.
    pub async fn open(
        config: Config,
        store: Store,
        clock: SharedClock,
        rng: Rng,
        server_name: OwnedServerName,
    ) -> Result<Self, OpenError> {
        let jwt =
            config.jwt.clone().map(JwtVerifier::new).transpose().map_err(OpenError::JwtKey)?;
        let store = AccountStore(store);
        let keys = TokenKeys::load(&store, &rng, clock.now_ms()).await?;
        let sessions = SessionTable::load(&store).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                keys,
                sessions,
                hashing: PasswordHashing::new(&config),
                jwt,
                login_tokens: LoginTokens::new(config.login_token_lifetime),
                nonces: Nonces::new(),
                uia: UiaSessions::new(config.uia_lifetime),
                registrations: Registrations::new(config.uia_lifetime),
                emails: EmailSessions::new(),
                mail_counts: MailCounts::new(),
                mails_sending: Semaphore::new(SENDING_MAX),
                mailer: OnceLock::new(),
                captcha: OnceLock::new(),
                captchas_checking: Semaphore::new(CHECKING_MAX),
                identity_servers: OnceLock::new(),
                threepids: Mutex::default(),
                identities: Mutex::default(),
                profiles: Cache::new(CACHED_PROFILES),
                push_rules: Cache::new(CACHED_PUSH_RULES),
                registration_tokens: Mutex::default(),
                reports: Mutex::default(),
                remote_profiles: OnceLock::new(),
                user_source: OnceLock::new(),
                hasher: RandomState::new(),
                locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
                config,
                store,
                clock,
                rng,
                server_name,
            }),
        })
    }

    pub fn server_name(&self) -> &ServerName {
        &self.inner.server_name
    }

    /// The user that a login form means: a localpart or a whole id of this server, in any case.
    pub fn user_id(&self, localpart_or_id: &str) -> Option<OwnedUserId> {
        let localpart = if localpart_or_id.starts_with('@') {
            let user_id = UserId::parse(localpart_or_id).ok()?;
            self.is_local(&user_id).then(|| user_id.localpart().to_owned())?
        } else {
            localpart_or_id.to_owned()
        };
        username::user_id(&localpart, &self.inner.server_name).ok()
    }

    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.inner.server_name
    }
}

impl Inner {
    /// Held while a user's rows are read, changed and submitted; never while they are flushed.
    pub(crate) async fn lock(&self, user_id: &UserId) -> MutexGuard<'_, ()> {
        self.locks[self.hasher.hash_one(user_id) as usize % LOCKS].lock().await
    }
}
