//! Users of other servers: what those last said of them, until they fall silent.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, UserId, presence::PresenceState};

use crate::{Presence, UserPresence, changes::Changes, device::millis};

/// Servers repeat that somebody is online; who is not heard of for so long is not.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// Users of other servers that are kept.
const USERS_MAX: usize = 1_000_000;
/// Of them, users of one server: it can make up as many as it likes.
const USERS_OF_SERVER_MAX: usize = 100_000;

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
    by_server: HashMap<OwnedServerName, usize>,
}

impl Known {
    fn has_room_for(&self, user_id: &UserId) -> bool {
        let of_server = self.by_server.get(user_id.server_name()).copied().unwrap_or_default();
        self.users.len() < USERS_MAX && of_server < USERS_OF_SERVER_MAX
    }

    fn insert(&mut self, user_id: &UserId, presence: UserPresence, end: u64) {
        self.ends.insert((end, user_id.to_owned()));
        self.users.insert(user_id.to_owned(), (presence, end));
        *self.by_server.entry(user_id.server_name().to_owned()).or_default() += 1;
    }

    fn remove(&mut self, user_id: &UserId) -> Option<UserPresence> {
        let (presence, end) = self.users.remove(user_id)?;
        self.ends.remove(&(end, user_id.to_owned()));
        if let Some(count) = self.by_server.get_mut(user_id.server_name()) {
            *count -= 1;
            if *count == 0 {
                self.by_server.remove(user_id.server_name());
            }
        }
        Some(presence)
    }
}

impl Remotes {
    pub(crate) fn get(&self, user_id: &UserId) -> Option<UserPresence> {
        self.0.lock().users.get(user_id).map(|(presence, _)| presence.clone())
    }

    /// Whether it is news.
    fn set(&self, user_id: &UserId, presence: UserPresence, now: u64) -> bool {
        let mut known = self.0.lock();
        let old = known.remove(user_id);
        let is_kept = presence.presence != PresenceState::Offline || presence.status_msg.is_some();
        let is_news = match old {
            Some(old) => old != presence,
            None => is_kept,
        };
        if is_kept {
            if !known.has_room_for(user_id) {
                // Told nobody, too: changes that nobody can have asked for push out those of others.
                return false;
            }
            known.insert(user_id, presence, now.saturating_add(millis(SILENCE)));
        }
        is_news
    }

    /// Those who have been silent for too long are offline.
    pub(crate) fn expire(&self, now: u64, changes: &Changes) {
        let mut known = self.0.lock();
        while let Some((end, user_id)) = known.ends.first().cloned() {
            if end > now {
                return;
            }
            if let Some(presence) = known.remove(&user_id)
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

#[cfg(test)]
mod tests {
    use ruma::{OwnedUserId, UserId, presence::PresenceState};

    use super::{Remotes, USERS_OF_SERVER_MAX};
    use crate::{UserPresence, changes::Changes};

    fn user(number: usize, server: &str) -> OwnedUserId {
        UserId::parse(format!("@u{number}:{server}")).unwrap()
    }

    #[test]
    fn a_server_that_makes_up_users_leaves_room_for_those_of_others() {
        let (remotes, changes) = (Remotes::default(), Changes::new(16));
        let online = || UserPresence { presence: PresenceState::Online, ..UserPresence::offline() };
        for number in 0..USERS_OF_SERVER_MAX {
            assert!(remotes.set(&user(number, "evil.test"), online(), 0));
        }
        let one_more = user(USERS_OF_SERVER_MAX, "evil.test");
        assert!(!remotes.set(&one_more, online(), 0));
        assert!(remotes.get(&one_more).is_none());
        assert!(remotes.set(&user(0, "other.test"), online(), 0));
        // Those who are known are told of as before, and their end makes room.
        assert!(remotes.set(&user(0, "evil.test"), UserPresence::offline(), 0));
        assert!(remotes.set(&one_more, online(), 0));
        remotes.expire(u64::MAX, &changes);
        assert!(remotes.get(&one_more).is_none());
        assert!(remotes.0.lock().by_server.is_empty());
    }
}
