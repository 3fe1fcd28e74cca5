//! Which members' events a device has been told, so that lazily loaded ones are not told again.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use storage::Position;

/// Members remembered per device; above that everything is forgotten, and told again.
const MAX_MEMBERS: usize = 4096;

/// A moment in what a client was told. Of two answers at one position the later one has another
/// version of the connection's state, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) version: u64,
    pub(crate) durable: Position,
}

impl At {
    /// Of a sync without a state of its own.
    pub(crate) fn position(durable: Position) -> Self {
        Self { version: 0, durable }
    }

    fn is_covered_by(self, confirmed: Self) -> bool {
        self.version <= confirmed.version && self.durable <= confirmed.durable
    }
}

type Told = HashMap<(OwnedRoomId, OwnedUserId), (OwnedEventId, At)>;

/// Bounded: what is forgotten is only told again.
pub(crate) struct LazyMembersSent<K> {
    devices: Cache<K, Arc<Mutex<Told>>>,
}

impl<K: Clone + Eq + Hash> LazyMembersSent<K> {
    pub(crate) fn new(devices: usize) -> Self {
        Self { devices: Cache::new(devices) }
    }

    /// What one device or connection has been told.
    pub(crate) fn of(&self, key: &K) -> ToldMembers {
        let told = self
            .devices
            .get_or_insert_with(key, || Ok::<_, std::convert::Infallible>(Arc::default()));
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
    /// coming back. An answer that was lost does not count.
    pub(crate) fn has(
        &self,
        room: &RoomId,
        member: &UserId,
        event: &EventId,
        confirmed: At,
    ) -> bool {
        let told = self.told.lock();
        told.get(&(room.to_owned(), member.to_owned()))
            .is_some_and(|(known, at)| known == event && at.is_covered_by(confirmed))
    }

    /// Of whom the device was told something in a room.
    pub(crate) fn members(&self, room: &RoomId) -> Vec<OwnedUserId> {
        let told = self.told.lock();
        let of_room = told.keys().filter(|(id, _)| id == room);
        of_room.map(|(_, member)| member.clone()).collect()
    }

    /// The event is part of the answer that ends at `at`.
    pub(crate) fn tell(&self, room: &RoomId, member: &UserId, event: &OwnedEventId, at: At) {
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
