//! The number on an app's icon: in how many rooms something is unread, and how many invites wait.
//!
//! Kept per user. What the log says has moved is only marked; it is counted when a notification goes
//! out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use rooms::Rooms;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::Position;
use sync::{Sync, SyncError};

/// Users of whom it is kept.
const USERS_KEPT: usize = 20_000;

pub(crate) struct Badges {
    sync: Sync,
    rooms: Rooms,
    /// Whether a room with something unread counts as one, however much that is.
    by_room: bool,
    users: Cache<OwnedUserId, Arc<Badge>>,
}

#[derive(Default)]
struct Badge {
    /// Held while it is counted.
    counted: tokio::sync::Mutex<Counted>,
    moved: Mutex<Moved>,
}

#[derive(Default)]
struct Counted {
    /// Whether every room was counted once.
    whole: bool,
    /// Only those with something unread.
    unread: BTreeMap<OwnedRoomId, u64>,
    invites: BTreeSet<OwnedRoomId>,
}

/// Rooms that are to be counted again.
#[derive(Default)]
struct Moved {
    /// With the position of the user's newest receipt there, if there was one.
    rooms: BTreeMap<OwnedRoomId, Position>,
    /// Those that counted the last time.
    counted: BTreeSet<OwnedRoomId>,
    whole: bool,
}

impl Badges {
    pub(crate) fn new(sync: Sync, rooms: Rooms, by_room: bool) -> Self {
        Self { sync, rooms, by_room, users: Cache::new(USERS_KEPT) }
    }

    /// Something happened that may change what the user has not read in the room. `receipt`: where
    /// they set one, else 0.
    pub(crate) fn touch(&self, user: &UserId, room: &RoomId, receipt: Position) {
        let Some(badge) = self.users.get(user) else { return };
        let mut moved = badge.moved.lock();
        let at = moved.rooms.entry(room.to_owned()).or_default();
        *at = receipt.max(*at);
    }

    /// Whether something in the room counted when it was counted last, or came since; `None` if
    /// that is not known.
    pub(crate) fn counts_room(&self, user: &UserId, room: &RoomId) -> Option<bool> {
        let badge = self.users.get(user)?;
        let moved = badge.moved.lock();
        moved.whole.then(|| moved.counted.contains(room) || moved.rooms.contains_key(room))
    }

    pub(crate) async fn count(&self, user: &UserId) -> Result<u64, SyncError> {
        let badge = match self.users.get(user) {
            Some(badge) => badge,
            None => {
                // Before anything is counted, so that what moves meanwhile is marked.
                let new = || Ok::<_, std::convert::Infallible>(Arc::default());
                match self.users.get_or_insert_with(user, new) {
                    Ok(badge) => badge,
                    Err(never) => match never {},
                }
            }
        };
        let mut counted = badge.counted.lock().await;
        let moved = std::mem::take(&mut badge.moved.lock().rooms);
        match self.count_moved(user, &mut counted, &moved).await {
            Ok(()) => {
                let mut now = badge.moved.lock();
                now.counted = counted.unread.keys().chain(&counted.invites).cloned().collect();
                now.whole = true;
                Ok(counted.sum(self.by_room))
            }
            Err(error) => {
                let mut again = badge.moved.lock();
                for (room, receipt) in moved {
                    let at = again.rooms.entry(room).or_default();
                    *at = receipt.max(*at);
                }
                Err(error)
            }
        }
    }

    async fn count_moved(
        &self,
        user: &UserId,
        counted: &mut Counted,
        moved: &BTreeMap<OwnedRoomId, Position>,
    ) -> Result<(), SyncError> {
        if moved.is_empty() && counted.whole {
            return Ok(());
        }
        let unwanted = self.sync.unwanted(user).await?;
        let mut look = Vec::new();
        if counted.whole {
            for (room, receipt) in moved {
                let membership = self.rooms.user_room(user, room).await?;
                look.push((room.clone(), membership, *receipt));
            }
        } else {
            for room in self.rooms.rooms_of(user).await? {
                let receipt = moved.get(&room.room_id).copied().unwrap_or_default();
                look.push((room.room_id.clone(), Some(room), receipt));
            }
        }
        for (room, membership, receipt) in look {
            counted.unread.remove(&room);
            counted.invites.remove(&room);
            let Some(membership) = membership else { continue };
            match membership.membership {
                MembershipState::Join => {
                    let unread = self.sync.unread(user, &room, receipt, &unwanted.users).await?;
                    if unread > 0 {
                        counted.unread.insert(room, unread);
                    }
                }
                MembershipState::Invite => {
                    let event = self.rooms.event_by_id(&membership.event_id).await?;
                    let sender = event.as_ref().map(|event| event.pdu.sender());
                    if !unwanted.hides_invite_of(sender) {
                        counted.invites.insert(room);
                    }
                }
                _ => {}
            }
        }
        counted.whole = true;
        Ok(())
    }
}

impl Counted {
    fn sum(&self, by_room: bool) -> u64 {
        let rooms = match by_room {
            true => self.unread.len() as u64,
            false => self.unread.values().sum(),
        };
        rooms + self.invites.len() as u64
    }
}
