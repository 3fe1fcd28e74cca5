//! Setting, listing and removing pushers.
//!
//! A pusher ends with the session that set it, in the same moment as its token: whether that session
//! lives is asked whenever the pusher is used. The rows of those that ended are removed when somebody
//! comes across them.

use std::sync::Arc;

use accounts::Session;
use ruma::UserId;

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
        let known = inner.registry.get(user, &new.app_id, &new.pushkey);
        let known = known.filter(|known| inner.is_alive(known));
        if known.is_none() && self.pushers(user).len() >= PUSHERS_MAX {
            return Err(PusherError::Invalid("there are too many pushers".to_owned()));
        }
        let removed = match new.append {
            true => Vec::new(),
            false => self.of_others(user, &new).await?,
        };
        let pusher = self.accept(session, new, known.as_deref());
        inner.pushers.replace(&removed, Some(&pusher)).await?;
        removed.iter().for_each(|pusher| inner.registry.remove(pusher));
        inner.registry.insert(Arc::new(pusher));
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

    async fn of_others(&self, user: &UserId, new: &NewPusher) -> Result<Vec<Pusher>, PusherError> {
        let inner = &*self.inner;
        let owners = inner.pushers.owners(&new.app_id, &new.pushkey).await?;
        let others = owners.into_iter().filter(|owner| owner != user);
        let theirs = others.filter_map(|other| {
            let pusher = inner.registry.get(&other, &new.app_id, &new.pushkey)?;
            Some(Pusher::clone(&pusher))
        });
        Ok(theirs.collect())
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
        let Some(pusher) = inner.registry.get(user, app_id, pushkey) else { return Ok(()) };
        inner.pushers.replace(&[Pusher::clone(&pusher)], None).await?;
        inner.registry.remove(&pusher);
        Ok(())
    }

    /// Those of sessions that live, in the order of app and key.
    pub fn pushers(&self, user: &UserId) -> Vec<Arc<Pusher>> {
        let pushers = self.inner.registry.of(user);
        pushers.iter().filter(|pusher| self.inner.is_alive(pusher)).cloned().collect()
    }
}
