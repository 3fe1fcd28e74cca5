//! Setting, listing and removing pushers.
//!
//! A pusher ends with the session that set it, in the same moment as its token: whether that session
//! lives is asked whenever the pusher is used. The rows of those that ended are removed when somebody
//! comes across them.

use std::sync::Arc;

use accounts::Session;
use ruma::{OwnedUserId, UserId};

use crate::{NewPusher, Push, Pusher, PusherError};

/// Of one user; nobody has so many devices.
const PUSHERS_MAX: usize = 200;

impl Push {
    /// Durable on return, as are all changes here.
    ///
    /// Another session may change a pusher, to switch it off from elsewhere (MSC3881): it stays that
    /// of the device that set it first.
    pub async fn set_pusher(&self, session: &Session, new: NewPusher) -> Result<(), PusherError> {
        new.check()?;
        let inner = &*self.inner;
        let user = &session.user_id;
        let _lock = inner.lock_pusher(&new.app_id, &new.pushkey).await;
        let mut known = inner.registry.get(user, &new.app_id, &new.pushkey);
        if let Some(ended) = known.take_if(|known| !inner.is_alive(known)) {
            self.remove(&ended).await?;
        }
        if known.is_none() && self.pushers(user).len() >= PUSHERS_MAX {
            return Err(PusherError::Invalid("there are too many pushers".to_owned()));
        }
        let removed = match new.append {
            true => Vec::new(),
            false => self.of_others(user, &new).await?,
        };
        let pusher = self.accept(session, new, known.as_deref());
        inner.pushers.replace(&[], Some(&pusher)).await?;
        inner.registry.insert(Arc::new(pusher));
        for pusher in &removed {
            self.remove(pusher).await?;
        }
        Ok(())
    }

    fn accept(&self, session: &Session, new: NewPusher, known: Option<&Pusher>) -> Pusher {
        let inner = &*self.inner;
        Pusher {
            id: known.map_or_else(|| inner.rng.next_u64(), |known| known.id),
            user_id: session.user_id.clone(),
            app_id: new.app_id,
            pushkey: new.pushkey,
            kind: new.kind,
            app_display_name: new.app_display_name,
            device_display_name: new.device_display_name,
            profile_tag: new.profile_tag,
            lang: new.lang,
            data: new.data,
            enabled: new.enabled,
            device_id: known.map_or(&session.device_id, |known| &known.device_id).clone(),
            session: known.map_or(session.id, |known| known.session),
            set_ts: inner.clock.now_ms(),
            since: match known.filter(|known| known.enabled) {
                Some(known) => known.since,
                None => inner.pushers.0.log().position(),
            },
        }
    }

    async fn of_others(
        &self,
        user: &UserId,
        new: &NewPusher,
    ) -> Result<Vec<Arc<Pusher>>, PusherError> {
        let inner = &*self.inner;
        let owners = inner.pushers.owners(&new.app_id, &new.pushkey).await?;
        let others = owners.into_iter().filter(|owner| owner != user);
        let of = |other: OwnedUserId| inner.registry.get(&other, &new.app_id, &new.pushkey);
        Ok(others.filter_map(of).collect())
    }

    /// No error if there is none.
    pub async fn delete_pusher(
        &self,
        user: &UserId,
        app_id: &str,
        pushkey: &str,
    ) -> Result<(), PusherError> {
        let inner = &*self.inner;
        let _lock = inner.lock_pusher(app_id, pushkey).await;
        match inner.registry.get(user, app_id, pushkey) {
            Some(pusher) => self.remove(&pusher).await,
            None => Ok(()),
        }
    }

    /// The caller holds the pusher's lock.
    async fn remove(&self, pusher: &Pusher) -> Result<(), PusherError> {
        let inner = &*self.inner;
        inner.registry.remove(pusher);
        inner.queues.forget(pusher.id);
        inner.outbox.clear(pusher.id).await?;
        inner.pushers.replace(std::slice::from_ref(pusher), None).await?;
        Ok(())
    }

    /// Removes a pusher that its gateway rejected, or whose session has ended.
    pub(crate) async fn forget(&self, pusher: &Pusher) {
        let inner = &*self.inner;
        let _lock = inner.lock_pusher(&pusher.app_id, &pusher.pushkey).await;
        let removed = match inner.registry.current(pusher) {
            Some(current) => self.remove(&current).await,
            // What came in while it was removed.
            None => {
                inner.queues.forget(pusher.id);
                inner.outbox.clear(pusher.id).await.map_err(PusherError::from)
            }
        };
        if let Err(error) = removed {
            tracing::error!(%error, "a pusher cannot be removed");
        }
    }

    /// Those of sessions that live, in the order of app and key.
    pub fn pushers(&self, user: &UserId) -> Vec<Arc<Pusher>> {
        let pushers = self.inner.registry.of(user);
        pushers.iter().filter(|pusher| self.inner.is_alive(pusher)).cloned().collect()
    }
}
