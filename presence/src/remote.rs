//! Users of other servers: what those last said of them, until they fall silent.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId, presence::PresenceState};

use crate::{Presence, UserPresence, changes::Changes, device::millis};

/// Servers repeat that somebody is online; who is not heard of for so long is not.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// Users of other servers that are kept.
const USERS_MAX: usize = 1_000_000;

/// What another server says of one of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePresence {
    pub state: PresenceState,
    /// Milliseconds.
    pub last_active_ago: Option<u64>,
    pub status_msg: Option<String>,
    pub currently_active: bool,
}

#[derive(Default)]
pub(crate) struct Remotes(Mutex<Known>);

#[derive(Default)]
struct Known {
    users: HashMap<OwnedUserId, (UserPresence, u64)>,
    /// When somebody is given up, the next first.
    ends: BTreeSet<(u64, OwnedUserId)>,
}

impl Remotes {
    pub(crate) fn get(&self, user_id: &UserId) -> Option<UserPresence> {
        self.0.lock().users.get(user_id).map(|(presence, _)| presence.clone())
    }

    /// Whether it is news.
    fn set(&self, user_id: &UserId, presence: UserPresence, now: u64) -> bool {
        let mut known = self.0.lock();
        let old = known.users.remove(user_id);
        if let Some((_, end)) = &old {
            known.ends.remove(&(*end, user_id.to_owned()));
        }
        let is_news = match &old {
            Some((old, _)) => *old != presence,
            None => presence.presence != PresenceState::Offline || presence.status_msg.is_some(),
        };
        let is_kept = presence.presence != PresenceState::Offline || presence.status_msg.is_some();
        if is_kept && known.users.len() < USERS_MAX {
            let end = now.saturating_add(millis(SILENCE));
            known.ends.insert((end, user_id.to_owned()));
            known.users.insert(user_id.to_owned(), (presence, end));
        }
        is_news
    }

    /// Those who have been silent for too long are offline.
    pub(crate) fn expire(&self, now: u64, changes: &Changes) {
        let mut known = self.0.lock();
        while let Some((end, user_id)) = known.ends.pop_first() {
            if end > now {
                known.ends.insert((end, user_id));
                return;
            }
            if let Some((presence, _)) = known.users.remove(&user_id)
                && presence.presence != PresenceState::Offline
            {
                let gone = UserPresence {
                    last_active_ts: presence.last_active_ts,
                    ..UserPresence::offline()
                };
                changes.push(&user_id, gone);
            }
        }
    }
}

impl Presence {
    /// Another server tells of a user, who must be one of its own: the caller has seen to that.
    pub fn receive_remote(&self, user_id: &UserId, remote: RemotePresence) {
        let inner = &self.inner;
        if !inner.config.enabled {
            return;
        }
        let now = inner.clock.now_ms();
        let presence = UserPresence {
            currently_active: remote.currently_active && remote.state == PresenceState::Online,
            presence: remote.state,
            last_active_ts: remote.last_active_ago.map(|ago| now.saturating_sub(ago)),
            status_msg: remote.status_msg.filter(|status| !status.is_empty()).map(Arc::from),
        };
        if inner.remotes.set(user_id, presence.clone(), now) {
            inner.changes.push(&user_id.to_owned(), presence);
        }
    }
}
