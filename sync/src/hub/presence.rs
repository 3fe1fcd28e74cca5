//! Changes of presence: noted with each user who may see them, so that an answer finds them without
//! going through what changed for everybody else.

use std::{collections::VecDeque, sync::Arc};

use presence::UserPresence;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};

use super::Hub;
use crate::{SyncError, changes::UserMark, waiter::Change};

/// Changes that are kept for each user. Whoever was told less than that goes through the log.
const KEPT: usize = 16;

/// Shared by all who may see it.
pub(crate) type Changed = Arc<(OwnedUserId, UserPresence)>;

/// The newest changes of presence that one user may see.
#[derive(Debug)]
pub(crate) struct PresenceNews {
    /// Every change after this one is kept.
    after: u64,
    /// Oldest first, each with the sequence of the last change that was noted together with it.
    changed: VecDeque<(u64, Changed)>,
}

impl PresenceNews {
    pub(crate) fn after(sequence: u64) -> Self {
        Self { after: sequence, changed: VecDeque::new() }
    }

    fn add(&mut self, changed: &Changed, sequence: u64) {
        // Of several rooms that both are in, one does.
        if self.changed.back().is_some_and(|(_, last)| Arc::ptr_eq(last, changed)) {
            return;
        }
        if self.changed.len() == KEPT
            && let Some((dropped, _)) = self.changed.pop_front()
        {
            self.after = dropped;
        }
        self.changed.push_back((sequence, Arc::clone(changed)));
    }

    fn lose(&mut self, up_to: u64) {
        *self = Self::after(up_to.max(self.after));
    }

    /// `None` if not all that changed after `sequence` is kept.
    fn since(&self, sequence: u64, up_to: u64) -> Option<Vec<Changed>> {
        if sequence < self.after {
            return None;
        }
        let newer = self.changed.iter().rev().take_while(|(at, _)| *at > sequence);
        let mut latest: Vec<Changed> = Vec::new();
        for (_, changed) in newer.filter(|(at, _)| *at <= up_to) {
            if !latest.iter().any(|known| known.0 == changed.0) {
                latest.push(Arc::clone(changed));
            }
        }
        latest.reverse();
        Some(latest)
    }
}

impl UserMark {
    /// Whether this is the first change up to that sequence.
    fn note_presence(&self, changed: &Changed, up_to: u64) -> bool {
        self.presence_news.lock().add(changed, up_to);
        self.presence.raise(up_to)
    }

    /// What changed up to here is looked up in the log by whoever was not told of it.
    pub(super) fn lose_presence(&self, up_to: u64) {
        self.presence_news.lock().lose(up_to);
        self.presence.raise(up_to);
    }
}

impl Hub {
    /// Tells everybody who is interested that some users' presence changed since the last time.
    pub(super) async fn presence_changed(&self) {
        let up_to = self.sources.presence.sequence();
        let mut told = Vec::new();
        match self.sources.presence.changed_since(self.presence.get()) {
            Ok(changed) => {
                for changed in changed {
                    let noted = self.note_presence(&Arc::new(changed), up_to, &mut told).await;
                    if let Err(error) = noted {
                        tracing::warn!(%error, "a change of presence was not passed on");
                    }
                }
            }
            Err(presence::ChangeLogGap) => {
                told.extend(self.users.read().values().cloned());
                told.iter().for_each(|user| user.lose_presence(up_to));
            }
        }
        self.presence.raise(up_to);
        // Only now: what is computed before it does not tell of these changes.
        for user in told {
            // The task that calls this has already waited for more of the kind.
            user.for_each_waiter(Change::Presence, |waiter| waiter.wake());
        }
    }

    async fn note_presence(
        &self,
        changed: &Changed,
        up_to: u64,
        told: &mut Vec<Arc<UserMark>>,
    ) -> Result<(), SyncError> {
        // Who shares a room with several of those who changed is woken once.
        let mut note = |user: &Arc<UserMark>| {
            if user.note_presence(changed, up_to) {
                told.push(Arc::clone(user));
            }
        };
        let user_id = &changed.0;
        self.with_user(user_id.as_str(), &mut note);
        for room in self.followed_rooms(user_id).await? {
            room.for_each_watcher(&mut note);
        }
        Ok(())
    }

    /// The rooms of a user whose mark is held; in the order of their ids.
    pub(crate) fn joined_rooms(&self, user: &UserId) -> Vec<OwnedRoomId> {
        let Some(user) = self.users.read().get(user).cloned() else { return Vec::new() };
        let memberships = user.memberships.read();
        let joined = memberships.iter().filter(|(_, room)| room.state == MembershipState::Join);
        joined.map(|(room_id, _)| room_id.clone()).collect()
    }

    /// Whose presence changed for the user after one moment and up to another; `None` if that is
    /// not kept.
    pub(crate) fn presence_news(
        &self,
        user: &UserId,
        after: u64,
        up_to: u64,
    ) -> Option<Vec<Changed>> {
        let users = self.users.read();
        let news = users.get(user)?.presence_news.lock();
        news.since(after, up_to)
    }
}

#[cfg(test)]
mod tests {
    use presence::UserPresence;
    use ruma::OwnedUserId;

    use super::{Changed, KEPT, PresenceNews};

    fn changed(number: usize) -> Changed {
        let user = OwnedUserId::try_from(format!("@u{number}:x.test")).expect("an id");
        Changed::new((user, UserPresence::offline()))
    }

    fn told(news: &PresenceNews, after: u64, up_to: u64) -> Option<Vec<String>> {
        let since = news.since(after, up_to)?;
        Some(since.iter().map(|changed| changed.0.localpart().to_owned()).collect())
    }

    #[test]
    fn news_are_what_came_after_and_each_user_once() {
        let mut news = PresenceNews::after(5);
        let (one, two, again) = (changed(1), changed(2), changed(1));
        news.add(&one, 7);
        news.add(&one, 7);
        news.add(&two, 7);
        news.add(&again, 9);
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(told(&news, 5, 9), names(&["u2", "u1"]));
        assert_eq!(told(&news, 5, 7), names(&["u1", "u2"]));
        assert_eq!(told(&news, 7, 9), names(&["u1"]));
        assert_eq!(told(&news, 9, 9), names(&[]));
        assert_eq!(told(&news, 4, 9), None, "what was before it began is not known");
    }

    #[test]
    fn what_is_no_longer_kept_is_looked_up() {
        let mut news = PresenceNews::after(0);
        for number in 0..KEPT + 2 {
            news.add(&changed(number), number as u64 + 1);
        }
        assert_eq!(told(&news, 1, u64::MAX), None);
        assert_eq!(told(&news, 2, u64::MAX).map(|told| told.len()), Some(KEPT));
        news.lose(40);
        assert_eq!(told(&news, 39, u64::MAX), None);
        assert_eq!(told(&news, 40, u64::MAX), Some(Vec::new()));
    }
}
