//! Waiting for events of one room, for those who look into it from outside.

use ruma::RoomId;
use storage::Position;

use crate::{Error, Rooms, facts::stream};

impl Rooms {
    /// Returns once an event of the room after `after` can be read. Safe to cancel; does not return
    /// when there is none until the server stops.
    pub async fn event_after(&self, room: &RoomId, after: Position) -> Result<(), Error> {
        let store = &self.inner.store;
        // What is there already is not looked for on the log, which may be long.
        let now = store.log().position();
        let mut follower = store.follow(now);
        if !self.timeline(room, after, now, 1, true).await?.is_empty() {
            return Ok(());
        }
        while let Some(facts) = follower.next().await? {
            let is_of_room = |subject: &str| subject == room.as_str();
            if facts.iter().any(|logged| {
                logged.fact.stream == stream::EVENT && is_of_room(&logged.fact.subject)
            }) {
                return Ok(());
            }
        }
        Ok(())
    }
}
