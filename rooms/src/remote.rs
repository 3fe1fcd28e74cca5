//! Memberships of local users in rooms that other servers answer for, and history that they have.
//!
//! Each function asks one server after the other until one has an answer. What a stranger hands
//! out is checked before it is signed or kept.

mod backfill;
mod candidates;
mod flights;
pub(crate) mod hierarchy;
mod history;
mod invite;
mod join;
mod knock;
mod leave;
mod moment;
mod queries;
mod taken_back;

pub(crate) use self::{
    backfill::{FailedGaps, Filled},
    flights::Flights,
};
use std::{sync::Arc, time::Duration};

use ruma::RoomId;

use crate::{Error, RoomView, ports::RemoteError, rooms::Inner};

/// What events of a room wait at most while that room is being joined.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    /// The room if local users are in it. A resident server sends what happens from the moment that
    /// it let our user in, which is before we have the room.
    pub(crate) async fn resident_view(
        &self,
        room: &RoomId,
    ) -> Result<Option<Arc<RoomView>>, Error> {
        let is_resident = |view: &Arc<RoomView>| !view.local_joined.is_empty();
        if let Some(view) = self.view(room).await?.filter(is_resident) {
            return Ok(Some(view));
        }
        let _too_long = tokio::time::timeout(JOIN_PATIENCE, self.join_flights.pass(room)).await;
        Ok(self.view(room).await?.filter(is_resident))
    }
}

/// The more telling of two reasons why nothing came of a request.
fn worse(known: Option<RemoteError>, new: RemoteError) -> RemoteError {
    match (known, &new) {
        (Some(refused @ RemoteError::Refused { .. }), _) => refused,
        (Some(known), RemoteError::Unreachable { .. }) => known,
        _ => new,
    }
}
