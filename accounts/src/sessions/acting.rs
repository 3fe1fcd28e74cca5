//! Sessions of application services that act as a user: in memory only, since nobody has a token of
//! them. They end as others do, with the account or the device, and are made anew when needed.

use std::sync::{Arc, atomic::Ordering};

use ruma::{DeviceId, OwnedDeviceId, UserId};

use super::{Session, table::Entry};
use crate::{Accounts, StoreError, User, store::SessionRecord};

/// Who acts as a user. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appservice {
    pub id: Arc<str>,
    /// Whether this counts against the rate limits of the user.
    pub rate_limited: bool,
}

/// As whom an application service acts. Whether it may is the caller's to know.
#[derive(Clone, Copy, Debug)]
pub struct ActAs<'a> {
    pub appservice: &'a Appservice,
    pub user_id: &'a UserId,
    /// A device of the user.
    pub device_id: Option<&'a DeviceId>,
}

#[derive(Debug, thiserror::Error)]
pub enum ActAsError {
    #[error("the application service has not registered this user")]
    NoUser,
    #[error("the account has been deactivated")]
    Deactivated,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ActAs<'_> {
    fn device_id(&self) -> OwnedDeviceId {
        self.device_id.map_or_else(|| "".into(), DeviceId::to_owned)
    }
}

impl Accounts {
    /// The session in which this was done before, if it has not ended.
    pub fn acting_as(&self, acting: ActAs<'_>) -> Option<Session> {
        let entry = self.inner.sessions.acting(&acting, &acting.device_id())?;
        Some(entry.session(None))
    }

    /// Costs a read of the store only if [`acting_as`](Self::acting_as) would find nothing.
    pub async fn act_as(&self, acting: ActAs<'_>) -> Result<Session, ActAsError> {
        let inner = &self.inner;
        // What ends the sessions of a user holds this too, so none is missed.
        let _lock = inner.lock(acting.user_id).await;
        if let Some(session) = self.acting_as(acting) {
            return Ok(session);
        }
        let record = inner.store.latest_user(acting.user_id).await?.ok_or(ActAsError::NoUser)?;
        if record.deactivated {
            return Err(ActAsError::Deactivated);
        }
        let user = User::new(acting.user_id, &record);
        let record = SessionRecord {
            device_id: acting.device_id(),
            created_ts: inner.clock.now_ms(),
            refreshable: false,
            generation: 0,
            next_expires_at: None,
        };
        let id = inner.sessions.next_unstored.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::acting(id, user, record, acting.appservice.clone());
        inner.sessions.insert_acting(&entry);
        Ok(entry.session(None))
    }
}
