//! Setting, listing and removing pushers.
//!
//! A pusher ends with the session that set it, in the same moment as its token, or with the email
//! address that it writes to: whether those live is asked whenever the pusher is used. The rows of those
//! that ended are removed when somebody comes across them.

use std::sync::Arc;

use accounts::Session;
use ruma::{OwnedUserId, UserId};

use crate::{
    Kind, NewPusher, Push, Pusher, PusherError,
    pusher::{Activation, EMAIL_APP, Tie},
};

/// Of one user; nobody has so many devices.
const PUSHERS_MAX: usize = 200;

/// What became of a pusher that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPusher {
    Active,
    /// Its app is sent a token to come back with ([`Push::activate_pusher`]).
    AwaitsActivation,
}

impl Push {
    /// Durable on return, as are all changes here.
    ///
    /// Another session may change a pusher, to switch it off from elsewhere (MSC3881): it stays that
    /// of the device that set it first.
    pub async fn set_pusher(
        &self,
        session: &Session,
        mut new: NewPusher,
    ) -> Result<SetPusher, PusherError> {
        let kind = new.check()?;
        let inner = &*self.inner;
        if !inner.offers().includes(kind) {
            let why = format!("there are no pushers of the kind {:?} here", kind.as_str());
            return Err(PusherError::Invalid(why));
        }
        if kind == Kind::Email {
            new.pushkey.make_ascii_lowercase();
        }
        let user = &session.user_id;
        let _lock = inner.lock_pusher(&new.app_id, &new.pushkey).await;
        let mut known = inner.registry.get(user, &new.app_id, &new.pushkey);
        if let Some(pusher) = &known
            && !inner.is_alive(pusher).await
        {
            self.remove(pusher).await?;
            known = None;
        }
        if known.is_none() && self.pushers(user).await?.len() >= PUSHERS_MAX {
            return Err(PusherError::Invalid("there are too many pushers".to_owned()));
        }
        let tie = self.tie(session, &new, kind, known.as_deref()).await?;
        let removed = match new.append {
            true => Vec::new(),
            false => self.of_others(user, &new).await?,
        };
        let pusher = Arc::new(self.accept(session, new, (kind, tie), known.as_deref()));
        inner.pushers.replace(&[], Some(&pusher)).await?;
        inner.registry.insert(Arc::clone(&pusher));
        for pusher in &removed {
            self.remove(pusher).await?;
        }
        if pusher.activated() == Some(false) {
            self.send_ack_token(pusher);
            return Ok(SetPusher::AwaitsActivation);
        }
        Ok(SetPusher::Active)
    }

    /// What a pusher is not to outlive. Mails are for those who are away, and may be logged out: what
    /// counts is that the address is theirs.
    async fn tie(
        &self,
        session: &Session,
        new: &NewPusher,
        kind: Kind,
        known: Option<&Pusher>,
    ) -> Result<Tie, PusherError> {
        if kind != Kind::Email {
            let known = known.map(|known| known.tie).filter(|tie| matches!(tie, Tie::Session(_)));
            return Ok(known.unwrap_or(Tie::Session(session.id)));
        }
        let added_at = self.inner.address_added_at(&session.user_id, &new.pushkey).await?;
        let added_at = added_at.ok_or_else(|| PusherError::NotOwnAddress(new.pushkey.clone()))?;
        Ok(Tie::Address { added_at })
    }

    fn accept(
        &self,
        session: &Session,
        new: NewPusher,
        (kind, tie): (Kind, Tie),
        known: Option<&Pusher>,
    ) -> Pusher {
        let inner = &*self.inner;
        let now = inner.clock.now_ms();
        Pusher {
            id: known.map_or_else(|| inner.rng.next_u64(), |known| known.id),
            activation: (kind == Kind::WebPush).then(|| {
                let is_same = |known: &&Pusher| {
                    ["url", "auth"].iter().all(|key| known.data.get(*key) == new.data.get(*key))
                };
                let activation = known.filter(is_same).and_then(|known| known.activation.clone());
                let done = activation.filter(|activation| activation.done);
                done.unwrap_or_else(|| Activation::begin(&inner.rng, now))
            }),
            user_id: session.user_id.clone(),
            app_id: new.app_id,
            pushkey: new.pushkey,
            kind,
            app_display_name: new.app_display_name,
            device_display_name: new.device_display_name,
            profile_tag: new.profile_tag,
            lang: new.lang,
            data: new.data,
            enabled: new.enabled,
            device_id: known.map_or(&session.device_id, |known| &known.device_id).clone(),
            tie,
            set_ts: now,
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
        let mut pushkey = pushkey.to_owned();
        if app_id == EMAIL_APP && inner.registry.get(user, app_id, &pushkey).is_none() {
            pushkey.make_ascii_lowercase();
        }
        let pushkey = pushkey.as_str();
        let _lock = inner.lock_pusher(app_id, pushkey).await;
        match inner.registry.get(user, app_id, pushkey) {
            Some(pusher) => self.remove(&pusher).await,
            None => Ok(()),
        }
    }

    /// The caller holds the pusher's lock.
    async fn remove(&self, pusher: &Pusher) -> Result<(), PusherError> {
        self.inner.registry.remove(pusher);
        self.clear(pusher).await?;
        self.inner.pushers.replace(std::slice::from_ref(pusher), None).await?;
        Ok(())
    }

    async fn clear(&self, pusher: &Pusher) -> Result<(), rooms::Error> {
        let inner = &*self.inner;
        inner.queues.forget(pusher.id);
        inner.outbox.clear(pusher.id).await?;
        match pusher.kind {
            Kind::Email => inner.mail_store.clear(pusher.id).await,
            Kind::Http | Kind::WebPush => Ok(()),
        }
    }

    /// Removes a pusher that its gateway rejected, or whose session has ended.
    pub(crate) async fn forget(&self, pusher: &Pusher) {
        let inner = &*self.inner;
        let _lock = inner.lock_pusher(&pusher.app_id, &pusher.pushkey).await;
        let removed = match inner.registry.current(pusher) {
            Some(current) => self.remove(&current).await,
            // What came in while it was removed.
            None => self.clear(pusher).await.map_err(PusherError::from),
        };
        if let Err(error) = removed {
            tracing::error!(%error, "a pusher cannot be removed");
        }
    }

    /// Those that live, in the order of app and key.
    pub async fn pushers(&self, user: &UserId) -> Result<Vec<Arc<Pusher>>, PusherError> {
        let mut pushers = Vec::new();
        for pusher in &*self.inner.registry.of(user) {
            if self.inner.lives(pusher).await? {
                pushers.push(Arc::clone(pusher));
            }
        }
        Ok(pushers)
    }
}
