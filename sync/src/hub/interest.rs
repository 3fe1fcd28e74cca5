//! Whose presence is of interest to whom: users who share a room, and who are looking.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::UserId;
use storage::{LoggedFact, Position};

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

    /// Who is to be told of each change of a user's devices among the facts. It is asked before the
    /// facts are applied: a mark must not be raised after a token has passed it.
    pub(super) async fn interested_in_devices(
        &self,
        facts: &[LoggedFact],
    ) -> Vec<(Position, Arc<UserMark>)> {
        let is_change = |stream| {
            use devices::stream::{DEVICE_LIST, REMOTE_DEVICE_LIST, SIGNING_KEYS};
            matches!(stream, DEVICE_LIST | REMOTE_DEVICE_LIST | SIGNING_KEYS)
        };
        // Of several changes of a user the newest counts.
        let changes: BTreeMap<_, _> = facts
            .iter()
            .filter(|logged| is_change(logged.fact.stream))
            .map(|logged| (&*logged.fact.subject, logged.position))
            .collect();
        let mut interested = Vec::new();
        for (subject, position) in changes {
            let Ok(user_id) = <&UserId>::try_from(subject) else { continue };
            self.with_user(subject, |user| interested.push((position, Arc::clone(user))));
            match self.followed_rooms(user_id).await {
                Ok(rooms) => {
                    for room in rooms {
                        room.for_each_watcher(|user| interested.push((position, Arc::clone(user))));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "whom a change of devices concerns cannot be read");
                    interested
                        .extend(self.users.read().values().map(|u| (position, Arc::clone(u))));
                }
            }
        }
        interested
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
