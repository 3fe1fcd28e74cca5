//! Errands under way, by room or by room and server: a second one of the same kind waits and finds
//! its work done. Not the room's writer, which is never held while others are asked.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

pub(crate) struct Flights<K = OwnedRoomId>(Mutex<HashMap<K, Arc<AsyncMutex<()>>>>)
where
    K: Eq + Hash;

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The errand is over, or was given up, when this is dropped.
#[must_use = "the next one starts when this is dropped"]
pub(crate) struct Flight<'a, K: Eq + Hash = OwnedRoomId> {
    flights: &'a Flights<K>,
    key: K,
    turn: Option<Arc<AsyncMutex<()>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Flights<K> {
    pub(crate) async fn enter<Q>(&self, key: &Q) -> Flight<'_, K>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let turn = Arc::clone(self.0.lock().entry(key.to_owned()).or_default());
        // Made before the wait, so that one who waits no longer leaves nothing behind either.
        let mut flight = Flight {
            flights: self,
            key: key.to_owned(),
            turn: Some(Arc::clone(&turn)),
            guard: None,
        };
        flight.guard = Some(turn.lock_owned().await);
        flight
    }
}

impl Flights {
    /// Waits until no errand is under way, if there is one.
    pub(crate) async fn pass(&self, room: &RoomId) {
        if self.0.lock().contains_key(room) {
            drop(self.enter(room).await);
        }
    }
}

impl<K: Eq + Hash> Drop for Flight<'_, K> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        self.guard = None;
        self.turn = None;
        if flights.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Flights;

    #[tokio::test]
    async fn those_who_wait_take_turns_and_leave_nothing_behind() {
        let flights = Flights::default();
        let room = ruma::room_id!("!a:one.test");
        let first = flights.enter(room).await;
        let gives_up = tokio::time::timeout(Duration::from_millis(1), flights.enter(room)).await;
        assert!(gives_up.is_err(), "there is one at a time");
        let elsewhere = flights.enter(ruma::room_id!("!b:one.test")).await;
        drop(first);
        drop(flights.enter(room).await);
        drop(elsewhere);
        assert!(flights.0.lock().is_empty());
    }
}
