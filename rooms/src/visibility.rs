//! Which events of a room a user may see.

use std::sync::Arc;

use ruma::{RoomId, UserId};

use crate::{Error, Rooms, StoredEvent};

impl Rooms {
    /// The events that the viewer may see by history visibility, in the order given.
    pub async fn visible(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
}
