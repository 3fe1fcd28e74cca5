//! Registration tokens: created by an administrator, spent by registering.

use crate::{Accounts, StoreError, store::RegistrationTokenRecord};

const TOKEN_CHARS_MAX: usize = 64;
const DRAWN_TOKEN_CHARS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    pub token: String,
    pub uses_allowed: Option<u32>,
    pub uses: u32,
    pub expires_at: Option<u64>,
}

impl RegistrationToken {
    fn new(token: String, record: &RegistrationTokenRecord) -> Self {
        let RegistrationTokenRecord { uses_allowed, uses, expires_at } = *record;
        Self { token, uses_allowed, uses, expires_at }
    }
}

#[derive(Clone, Debug, Default)]
pub struct NewRegistrationToken {
    /// `None`: one is drawn.
    pub token: Option<String>,
    /// `None`: any number.
    pub uses_allowed: Option<u32>,
    /// Milliseconds since the epoch.
    pub expires_at: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationTokenError {
    #[error("a registration token has 1 to 64 characters of A-Z, a-z, 0-9 and ._~-")]
    Invalid,
    #[error("the registration token exists already")]
    Exists,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The opaque identifier grammar.
fn is_well_formed(token: &str) -> bool {
    (1..=TOKEN_CHARS_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

impl RegistrationTokenRecord {
    fn is_valid(&self, now: u64) -> bool {
        self.uses_allowed.is_none_or(|allowed| self.uses < allowed)
            && self.expires_at.is_none_or(|at| now < at)
    }
}

impl Accounts {
    pub async fn create_registration_token(
        &self,
        token: NewRegistrationToken,
    ) -> Result<RegistrationToken, RegistrationTokenError> {
        let inner = &self.inner;
        let name = token.token.unwrap_or_else(|| inner.rng.alphanumeric(DRAWN_TOKEN_CHARS));
        if !is_well_formed(&name) {
            return Err(RegistrationTokenError::Invalid);
        }
        let record = RegistrationTokenRecord {
            uses_allowed: token.uses_allowed,
            uses: 0,
            expires_at: token.expires_at,
        };
        let created = {
            let _lock = inner.registration_tokens.lock().await;
            if inner.store.latest_registration_token(&name).await?.is_some() {
                return Err(RegistrationTokenError::Exists);
            }
            inner.store.put_registration_token(&name, &record)?
        };
        created.await.map_err(StoreError::from)?;
        Ok(RegistrationToken::new(name, &record))
    }

    /// Whether the token could be spent now.
    pub async fn is_registration_token_valid(&self, token: &str) -> Result<bool, StoreError> {
        if !is_well_formed(token) {
            return Ok(false);
        }
        let record = self.inner.store.latest_registration_token(token).await?;
        Ok(record.is_some_and(|record| record.is_valid(self.inner.clock.now_ms())))
    }

    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, StoreError> {
        let records = self.inner.store.registration_tokens().await?;
        let tokens =
            records.into_iter().map(|(token, record)| RegistrationToken::new(token, &record));
        Ok(tokens.collect())
    }

    /// `false` if there is no such token.
    pub async fn delete_registration_token(&self, token: &str) -> Result<bool, StoreError> {
        let deleted = {
            let _lock = self.inner.registration_tokens.lock().await;
            if self.inner.store.latest_registration_token(token).await?.is_none() {
                return Ok(false);
            }
            self.inner.store.delete_registration_token(token)?
        };
        deleted.await?;
        Ok(true)
    }

    /// `false` if the token is not valid. Spent before the account exists: if the process dies in
    /// between, a use is lost, never won.
    pub(crate) async fn spend_registration_token(&self, token: &str) -> Result<bool, StoreError> {
        let inner = &self.inner;
        if !is_well_formed(token) {
            return Ok(false);
        }
        let spent = {
            let _lock = inner.registration_tokens.lock().await;
            let record = inner.store.latest_registration_token(token).await?;
            let Some(mut record) = record.filter(|record| record.is_valid(inner.clock.now_ms()))
            else {
                return Ok(false);
            };
            record.uses += 1;
            inner.store.put_registration_token(token, &record)?
        };
        spent.await?;
        Ok(true)
    }

    pub(crate) async fn give_back_registration_token(&self, token: &str) -> Result<(), StoreError> {
        let inner = &self.inner;
        let given = {
            let _lock = inner.registration_tokens.lock().await;
            let Some(mut record) = inner.store.latest_registration_token(token).await? else {
                return Ok(());
            };
            record.uses = record.uses.saturating_sub(1);
            inner.store.put_registration_token(token, &record)?
        };
        given.await?;
        Ok(())
    }
}
