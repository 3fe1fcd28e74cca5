//! Which members' events a device has been told, so that lazily loaded ones are not told again.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use storage::Position;

/// Members remembered per device; above that everything is forgotten, and told again.
const MAX_MEMBERS: usize = 4096;

type Told = HashMap<(OwnedRoomId, OwnedUserId), (OwnedEventId, Position)>;

/// Bounded: what is forgotten is only told again.
pub(crate) struct LazyMembersSent {
    devices: Cache<(OwnedUserId, OwnedDeviceId), Arc<Mutex<Told>>>,
}

impl LazyMembersSent {
    pub(crate) fn new(devices: usize) -> Self {
        Self { devices: Cache::new(devices) }
    }

    /// What one device has been told.
    pub(crate) fn device(&self, user: &UserId, device: &DeviceId) -> ToldMembers {
        let key = (user.to_owned(), device.to_owned());
        let told = self
            .devices
            .get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        match told {
            Ok(told) => ToldMembers { told },
            Err(never) => match never {},
        }
    }
}

/// What one device has been told.
#[derive(Clone, Debug)]
pub(crate) struct ToldMembers {
    told: Arc<Mutex<Told>>,
}

impl ToldMembers {
    pub(crate) fn clear(&self) {
        self.told.lock().clear();
    }

    /// Whether the device has the event: it was in an answer that the device has confirmed by
    /// coming back with `since`. An answer that was lost does not count.
    pub(crate) fn has(
        &self,
        room: &RoomId,
        member: &UserId,
        event: &OwnedEventId,
        since: Position,
    ) -> bool {
        let told = self.told.lock();
        told.get(&(room.to_owned(), member.to_owned()))
            .is_some_and(|(known, at)| known == event && *at <= since)
    }

    /// The event is part of the answer that ends at `at`.
    pub(crate) fn tell(&self, room: &RoomId, member: &UserId, event: &OwnedEventId, at: Position) {
        let mut told = self.told.lock();
        if told.len() >= MAX_MEMBERS {
            told.clear();
        }
        let key = (room.to_owned(), member.to_owned());
        // The first answer that had it counts: a later one does not make it unconfirmed again.
        match told.get_mut(&key) {
            Some((known, _)) if known == event => (),
            _ => drop(told.insert(key, (event.clone(), at))),
        }
    }
}
