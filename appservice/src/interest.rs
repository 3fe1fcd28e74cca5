//! Who wants to know of a room, or of a user.

use std::{collections::BTreeSet, sync::Arc};

use quick_cache::sync::Cache;
use rooms::Rooms;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::Registration;

/// Rooms of which it is remembered who is interested in their members.
const ROOMS_KEPT: usize = 10_000;

/// One entry for each application service.
type Wanting = Arc<[bool]>;

/// With the members that it was computed of.
type Known = (Arc<BTreeSet<OwnedUserId>>, Wanting);

pub(crate) struct Interest {
    rooms: Rooms,
    services: Vec<Arc<Registration>>,
    members: Cache<OwnedRoomId, Known>,
}

impl Interest {
    pub(crate) fn new(rooms: Rooms, services: Vec<Arc<Registration>>) -> Self {
        Self { rooms, services, members: Cache::new(ROOMS_KEPT) }
    }

    /// "the application service must have registered interest in the room itself, or in a user that
    /// is in the room"; the room itself also by an alias.
    pub(crate) async fn in_room(&self, room: &RoomId) -> Result<Vec<bool>, rooms::Error> {
        let mut wanting = self.in_members(room).await?.to_vec();
        for (service, wants) in self.services.iter().zip(&mut wanting) {
            *wants |= service.covers_room(room);
        }
        let is_open =
            |(service, wants): (&Arc<Registration>, &bool)| !wants && service.names_aliases();
        if self.services.iter().zip(&wanting).any(is_open) {
            let aliases = self.rooms.local_aliases(room).await?;
            for (service, wants) in self.services.iter().zip(&mut wanting) {
                *wants |= aliases.iter().any(|alias| service.covers_alias(alias));
            }
        }
        Ok(wanting)
    }

    /// Of whom it is that something is said.
    pub(crate) fn in_user(&self, user: &UserId) -> impl Iterator<Item = bool> {
        self.services.iter().map(|service| service.covers_user(user))
    }

    /// Those with a user in the room.
    async fn in_members(&self, room: &RoomId) -> Result<Wanting, rooms::Error> {
        let nobody = || self.services.iter().map(|_| false).collect();
        let Some(view) = self.rooms.room(room).await? else { return Ok(nobody()) };
        let members = &view.local_joined;
        // Another set is another allocation: a room's members are compared by where they are.
        if let Some((of, wanting)) = self.members.get(room)
            && Arc::ptr_eq(&of, members)
        {
            return Ok(wanting);
        }
        let has_user =
            |service: &Arc<Registration>| members.iter().any(|user| service.covers_user(user));
        let wanting: Wanting = self.services.iter().map(has_user).collect();
        self.members.insert(room.to_owned(), (Arc::clone(members), Arc::clone(&wanting)));
        Ok(wanting)
    }

    /// Those of whom the user is one, or who share a room with them.
    pub(crate) async fn in_presence(&self, user: &UserId) -> Result<Vec<bool>, rooms::Error> {
        let mut wanting: Vec<bool> = self.in_user(user).collect();
        for room in self.rooms.joined_rooms(user).await? {
            if wanting.iter().all(|wants| *wants) {
                break;
            }
            for (wants, more) in wanting.iter_mut().zip(&*self.in_members(&room).await?) {
                *wants |= more;
            }
        }
        Ok(wanting)
    }
}
