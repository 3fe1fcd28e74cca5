//! Forgetting a room that one has left.

use ruma::{RoomId, UserId, events::room::member::MembershipState};
use storage::Batch;

use crate::{Error, Rooms, store::UserRooms};

impl Rooms {
    /// Hides a room that the user has left. Joining or being invited again brings it back.
    pub async fn forget(&self, room: &RoomId, user: &UserId) -> Result<(), Error> {
        let inner = &*self.inner;
        // Held until the row is submitted, so that a join at the same time is before or after it.
        let writer = inner.writer(room).await?.ok_or(Error::NotFound("the room"))?;
        let record = inner.store.get_latest::<UserRooms>(user, room).await?;
        let mut record = record.ok_or(Error::NotFound("the room"))?;
        if !matches!(record.membership, MembershipState::Leave | MembershipState::Ban) {
            return Err(Error::WrongMembership { current: record.membership });
        }
        record.forgotten = true;
        let mut batch = Batch::new();
        batch.put::<UserRooms>(user, room, &record);
        let pending = inner.store.submit(batch)?;
        drop(writer);
        pending.await?;
        Ok(())
    }
}
