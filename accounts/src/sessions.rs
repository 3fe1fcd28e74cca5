//! Sessions: one per login. Kept in memory whole, so that a request is authenticated without a
//! store read and an end takes effect at once.

use std::{future::Future, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Accounts, StoreError, User};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    pub guest: bool,
    pub admin: bool,
    /// When the token that was presented expires. Milliseconds since the epoch.
    pub expires_at: Option<u64>,
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
    #[error("the refresh token is not known")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn create_session(&self, _session: NewSession<'_>) -> Result<Tokens, SessionError> {
        unimplemented!()
    }

    /// Costs no store read.
    pub fn authenticate(&self, _access_token: &str) -> Result<Session, TokenError> {
        unimplemented!()
    }

    pub async fn refresh(&self, _refresh_token: &str) -> Result<Tokens, RefreshError> {
        unimplemented!()
    }

    pub async fn end_session(&self, _id: SessionId) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Ends what a device is logged in with.
    pub async fn end_device(
        &self,
        _user_id: &UserId,
        _device_id: &DeviceId,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    pub async fn end_all(
        &self,
        _user_id: &UserId,
        _except: Option<SessionId>,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Resolves when the session has ended (at once if it does not exist): open sockets and long
    /// polls wait for it. Says nothing about the token's expiry.
    pub fn session_ended(
        &self,
        _id: SessionId,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        std::future::pending()
    }
}
