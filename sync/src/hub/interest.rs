//! Whose presence is of interest to whom: users who share a room, and who are looking.

use std::{collections::BTreeSet, sync::Arc};

use ruma::UserId;

use super::Hub;
use crate::{
    SyncError,
    changes::{RoomMark, UserMark},
    waiter::Change,
};

impl Hub {
    /// Tells everybody who is interested that some users' presence changed since the last time.
    pub(super) async fn presence_changed(&self) {
        let up_to = self.sources.presence.sequence();
        match self.sources.presence.changed_since(self.presence.get()) {
            Ok(changed) => {
                for (user_id, _) in changed {
                    if let Err(error) = self.tell_interested(&user_id, up_to).await {
                        tracing::warn!(%error, "a change of presence was not passed on");
                    }
                }
            }
            Err(presence::ChangeLogGap) => {
                let everybody: Vec<_> = self.users.read().values().cloned().collect();
                everybody.iter().for_each(|user| self.presence_moved(user, up_to));
            }
        }
        self.presence.raise(up_to);
    }

    async fn tell_interested(&self, user_id: &UserId, up_to: u64) -> Result<(), SyncError> {
        // Users in several common rooms are visited once.
        let mut told = BTreeSet::new();
        self.with_user(user_id.as_str(), |user| {
            told.insert(user.user_id.clone());
            self.presence_moved(user, up_to);
        });
        for room in self.followed_rooms(user_id).await? {
            room.for_each_watcher(|user| {
                if told.insert(user.user_id.clone()) {
                    self.presence_moved(user, up_to);
                }
            });
        }
        Ok(())
    }

    /// The user's joined rooms, as far as somebody who was connected recently is in them.
    async fn followed_rooms(&self, user_id: &UserId) -> Result<Vec<Arc<RoomMark>>, SyncError> {
        let known = self.users.read().get(user_id).cloned();
        if let Some(user) = known.filter(|user| user.loaded.initialized()) {
            let memberships = user.memberships.read();
            return Ok(memberships.values().filter_map(|room| room.room.clone()).collect());
        }
        let joined = self.sources.rooms.joined_rooms(user_id).await?;
        let followed = self.rooms.read();
        Ok(joined.iter().filter_map(|room| followed.get(room).cloned()).collect())
    }

    fn presence_moved(&self, user: &UserMark, sequence: u64) {
        user.presence.raise(sequence);
        // The task that calls this has already waited for more of the kind.
        user.for_each_waiter(Change::Presence, |waiter| waiter.wake());
    }
}
