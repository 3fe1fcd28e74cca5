//! Who is interested in a user: those who share a room with them, and who are looking.

use std::{collections::BTreeMap, sync::Arc};

use ruma::UserId;
use storage::{LoggedFact, Position};

use super::Hub;
use crate::{
    SyncError,
    changes::{RoomMark, UserMark},
    waiter::Change,
};

/// What of a user others follow who share a room with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Devices,
    Profile,
}

impl About {
    fn of(stream: u8) -> Option<Self> {
        use devices::stream::{DEVICE_LIST, REMOTE_DEVICE_LIST, SIGNING_KEYS};
        match stream {
            DEVICE_LIST | REMOTE_DEVICE_LIST | SIGNING_KEYS => Some(Self::Devices),
            accounts::stream::PROFILE => Some(Self::Profile),
            _ => None,
        }
    }
}

/// A user who is to be told of a change.
pub(super) struct Interested {
    user: Arc<UserMark>,
    about: About,
    /// It is the user's own.
    own: bool,
    position: Position,
}

impl Hub {
    /// Who is to be told of each change of a user's devices or profile among the facts. It is asked
    /// before the facts are applied: a mark must not be raised after a token has passed it.
    pub(super) async fn interested_in(&self, facts: &[LoggedFact]) -> Vec<Interested> {
        // Of several changes of a user the newest counts.
        let changes: BTreeMap<_, _> = facts
            .iter()
            .filter_map(|logged| {
                let about = About::of(logged.fact.stream)?;
                Some(((&*logged.fact.subject, about), logged.position))
            })
            .collect();
        let mut interested = Vec::new();
        for ((subject, about), position) in changes {
            let Ok(user_id) = <&UserId>::try_from(subject) else { continue };
            let mut add = |user: &Arc<UserMark>| {
                let own = user.user_id == user_id;
                interested.push(Interested { user: Arc::clone(user), about, own, position });
            };
            self.with_user(subject, &mut add);
            match self.followed_rooms(user_id).await {
                Ok(rooms) => rooms.iter().for_each(|room| room.for_each_watcher(&mut add)),
                Err(error) => {
                    tracing::warn!(%error, "whom a change of a user concerns cannot be read");
                    self.users.read().values().for_each(add);
                }
            }
        }
        interested
    }

    pub(super) fn tell(&self, interested: &Interested) {
        let Interested { user, about, own, position } = interested;
        match about {
            About::Devices => self.device_lists_moved(user, *position, *own),
            About::Profile => {
                user.profiles.raise(*position);
                self.wake(user, Change::Profiles);
            }
        }
    }

    /// The user's joined rooms, as far as somebody who was connected recently is in them.
    pub(super) async fn followed_rooms(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<Arc<RoomMark>>, SyncError> {
        let known = self.users.read().get(user_id).cloned();
        if let Some(user) = known.filter(|user| user.loaded.initialized()) {
            let memberships = user.memberships.read();
            return Ok(memberships.values().filter_map(|room| room.room.clone()).collect());
        }
        let joined = self.sources.rooms.joined_rooms(user_id).await?;
        let followed = self.rooms.read();
        Ok(joined.iter().filter_map(|room| followed.get(room).cloned()).collect())
    }
}
