//! Sessions: one per login. Kept in memory whole, so that a request is authenticated without a
//! store read and an end takes effect at once.
//!
//! Tokens of a session that can refresh come in generations. The pair after the current one is
//! handed out by a refresh and becomes current when it is first used; until then the current
//! refresh token stays valid and gives the same pair again, so an answer may be lost on the way.

mod acting;
mod table;

use std::{future::Future, sync::Arc, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

pub use self::acting::{ActAs, ActAsError, Appservice};
pub(crate) use self::table::SessionTable;
use self::table::{Entry, Refreshed};
use crate::{Accounts, StoreError, User, store::SessionRecord, tokens::Claims};

/// JSON numbers are exact up to here.
const ID_BITS: u32 = 53;
/// Sessions without a row, which nobody has a token of, are numbered from here.
const FIRST_UNSTORED_ID: u64 = 1 << ID_BITS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

/// For what another crate keeps for as long as a session lives.
impl SessionId {
    pub fn to_u64(self) -> u64 {
        self.0
    }

    pub fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: OwnedUserId,
    /// Empty if an application service named none: no device has such an id, so nothing is found
    /// for it.
    pub device_id: OwnedDeviceId,
    pub guest: bool,
    pub admin: bool,
    /// Good for logging out, and nothing else.
    pub locked: bool,
    /// When the token that was presented expires. Milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// Who acts in the name of the user, if it is not they themselves.
    pub appservice: Option<Appservice>,
}

impl Session {
    /// `None` only of an application service.
    pub fn device(&self) -> Option<&DeviceId> {
        Some(&*self.device_id).filter(|device_id| !device_id.as_str().is_empty())
    }
}

/// What a login hands out.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    pub session_id: SessionId,
    pub access_token: String,
    /// Only if it was asked for.
    pub refresh_token: Option<String>,
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// As [`Accounts::check_password`] or [`Accounts::user`] returned it.
    pub user: &'a User,
    /// Sessions that the device had before end.
    pub device_id: &'a DeviceId,
    /// The client said that it can refresh its token.
    pub refresh: bool,
}

/// Which sessions end with a password change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSessions {
    None,
    AllExcept(SessionId),
    All,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the account has been deactivated")]
    Deactivated,
    /// The password changed or the account ended between the proof and the session.
    #[error("the account has changed, log in again")]
    UserChanged,
    #[error("the account has been locked")]
    Locked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the access token is not known")]
    Unknown,
    /// The session lives on: the client may refresh or log in again softly (`soft_logout`).
    #[error("the access token has expired")]
    Expired,
}

#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Never ours, of an ended session, or used before: the latter ends the session, since two
    /// have the token then and one of them stole it.
    #[error("the refresh token is not known")]
    Unknown,
    #[error("the account has been locked")]
    Locked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn create_session(&self, session: NewSession<'_>) -> Result<Tokens, SessionError> {
        let NewSession { user, device_id, refresh } = session;
        let inner = &self.inner;
        let now = inner.clock.now_ms();
        let record = SessionRecord {
            device_id: device_id.to_owned(),
            created_ts: now,
            refreshable: refresh,
            generation: 0,
            next_expires_at: None,
        };
        let id = inner.rng.next_u64() >> (u64::BITS - ID_BITS);
        let (entry, created) = {
            let _lock = inner.lock(&user.user_id).await;
            let latest = inner.store.latest_user(&user.user_id).await?;
            let latest = latest.ok_or(SessionError::UserChanged)?;
            if latest.deactivated {
                return Err(SessionError::Deactivated);
            }
            if latest.locked {
                return Err(SessionError::Locked);
            }
            if latest.epoch != user.epoch {
                return Err(SessionError::UserChanged);
            }
            let replaced = inner.sessions.end_device(&user.user_id, device_id);
            let entry = Entry::new(id, User::new(&user.user_id, &latest), record.clone());
            // Before it is durable, so that whatever ends sessions from now on finds it. Nobody
            // has its token yet.
            inner.sessions.insert(&entry);
            let created = inner.store.create_session(&user.user_id, id, &record, &replaced);
            (entry, created)
        };
        let created = match created {
            Ok(created) => created.await.map_err(StoreError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = created {
            inner.sessions.end(id);
            return Err(error.into());
        }
        if entry.is_ended() {
            return Err(SessionError::UserChanged);
        }
        let expires_at = self.lifetime(refresh).map(|lifetime| now.saturating_add(lifetime));
        Ok(self.tokens(id, 0, expires_at, refresh, now))
    }

    fn lifetime(&self, refreshable: bool) -> Option<u64> {
        let config = &self.inner.config;
        let lifetime = if refreshable {
            Some(config.refreshable_access_token_lifetime)
        } else {
            config.access_token_lifetime
        };
        lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
    }

    fn tokens(
        &self,
        session: u64,
        generation: u32,
        expires_at: Option<u64>,
        refreshable: bool,
        now: u64,
    ) -> Tokens {
        let keys = &self.inner.keys;
        let expires = expires_at.map(|at| at.div_ceil(1000));
        Tokens {
            session_id: SessionId(session),
            access_token: keys.access_token(&Claims { session, generation, expires }),
            refresh_token: refreshable.then(|| keys.refresh_token(session, generation)),
            expires_in: expires_at.map(|at| Duration::from_millis(at.saturating_sub(now))),
        }
    }

    /// Costs no store read, and no signature check for a token that was seen before.
    pub fn authenticate(&self, access_token: &str) -> Result<Session, TokenError> {
        let inner = &self.inner;
        let token = inner.keys.parse_access_token(access_token).ok_or(TokenError::Unknown)?;
        let claims = token.claims;
        // The claims choose the session before they are verified; they prove nothing yet.
        let entry = inner.sessions.get(claims.session).ok_or(TokenError::Unknown)?;
        if !entry.has_verified(access_token) {
            if !inner.keys.is_signed(&token) {
                return Err(TokenError::Unknown);
            }
            entry.set_verified(access_token);
        }
        let expires_at = claims.expires.map(|seconds| seconds.saturating_mul(1000));
        if expires_at.is_some_and(|at| inner.clock.now_ms() >= at) {
            return if entry.is_ended() {
                Err(TokenError::Unknown)
            } else {
                Err(TokenError::Expired)
            };
        }
        entry.use_generation(claims.generation, |record| {
            match inner.store.update_session(&entry.user.user_id, claims.session, record) {
                // Not waited for: if a crash undoes it, the older pair is valid for longer.
                Ok(pending) => drop(pending),
                Err(error) => tracing::warn!(%error, "the use of a token was not recorded"),
            }
        })?;
        Ok(entry.session(expires_at))
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, RefreshError> {
        let inner = &self.inner;
        let (id, generation) =
            inner.keys.verify_refresh_token(refresh_token).ok_or(RefreshError::Unknown)?;
        let entry = inner.sessions.get(id).ok_or(RefreshError::Unknown)?;
        if entry.is_locked() {
            return Err(RefreshError::Locked);
        }
        let now = inner.clock.now_ms();
        let lifetime = self.lifetime(true).unwrap_or(u64::MAX);
        let refreshed = entry.refresh(generation, now, lifetime, |record| {
            inner.store.update_session(&entry.user.user_id, id, record)
        });
        match refreshed? {
            Refreshed::Pair { generation, expires_at, submitted } => {
                match submitted {
                    Some(submitted) => drop(submitted.await.map_err(StoreError::from)?),
                    None => inner.store.barrier().await?,
                }
                Ok(self.tokens(id, generation, Some(expires_at), true, now))
            }
            Refreshed::Reused => {
                self.end_session(SessionId(id)).await?;
                Err(RefreshError::Unknown)
            }
            Refreshed::Unknown => Err(RefreshError::Unknown),
        }
    }

    pub async fn end_session(&self, id: SessionId) -> Result<(), StoreError> {
        let Some(entry) = self.inner.sessions.end(id.0) else { return Ok(()) };
        let ended = self.inner.store.delete_sessions(&entry.user.user_id, &[id.0])?;
        ended.await?;
        Ok(())
    }

    /// Ends what a device is logged in with.
    pub async fn end_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<(), StoreError> {
        let ended = self.inner.sessions.end_device(user_id, device_id);
        self.delete_ended(user_id, &ended).await
    }

    pub async fn end_all(
        &self,
        user_id: &UserId,
        except: Option<SessionId>,
    ) -> Result<(), StoreError> {
        let ended = self.inner.sessions.end_all(user_id, except.map(|id| id.0));
        self.delete_ended(user_id, &ended).await
    }

    async fn delete_ended(&self, user_id: &UserId, ended: &[u64]) -> Result<(), StoreError> {
        if !ended.is_empty() {
            self.inner.store.delete_sessions(user_id, ended)?.await?;
        }
        Ok(())
    }

    /// Whether the session has not ended. It may be locked.
    pub fn has_session(&self, id: SessionId) -> bool {
        self.inner.sessions.get(id.0).is_some()
    }

    /// Whether the account may read, but not act: at this moment, for a session may be held for long.
    pub fn is_suspended(&self, id: SessionId) -> bool {
        self.inner.sessions.get(id.0).is_some_and(|entry| entry.is_suspended())
    }

    /// Resolves when the session has ended (at once if it does not exist) or is locked: open
    /// sockets and long polls wait for it. Says nothing about the token's expiry.
    pub fn session_ended(
        &self,
        id: SessionId,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let entry: Option<Arc<Entry>> = self.inner.sessions.get(id.0);
        async move {
            if let Some(entry) = entry {
                entry.ended().await;
            }
        }
    }
}
