//! What push asks: unread counts of users who need not be connected, and whether an event was read.

use std::collections::BTreeSet;

use rooms::StoredEvent;
use ruma::{OwnedUserId, RoomId, UserId};
use storage::Position;

use super::{PushRules, Read, thread};
use crate::{Sync, SyncError, Unwanted};

impl Sync {
    pub fn push_rules(&self) -> &PushRules {
        &self.inner.unread.rules
    }

    /// How many events in a room that they are joined to, threads included, a user was notified of
    /// and has not read. `own_receipt` is at least the position at which they set their newest
    /// receipt there, or 0 if none was set since this was asked last.
    pub async fn unread(
        &self,
        user: &UserId,
        room: &RoomId,
        own_receipt: Position,
        ignored: &BTreeSet<OwnedUserId>,
    ) -> Result<u64, SyncError> {
        let now = self.inner.sources.store.log().position();
        let unread = self.inner.unread.count(user, room, own_receipt, now, ignored).await?;
        Ok(unread.total().notifications)
    }

    /// To be called when the user comes into a room: what was before is not unread.
    pub fn forget_unread(&self, user: &UserId, room: &RoomId) {
        self.inner.unread.forget(user, room);
    }

    /// Whether the user read the event: by a receipt, or, as far as that is known, by writing
    /// something after it.
    pub async fn has_read(&self, user: &UserId, event: &StoredEvent) -> Result<bool, SyncError> {
        let (rooms, room) = (&self.inner.sources.rooms, event.pdu.room_id());
        let thread = thread::of(rooms, event).await?;
        if Read::of(&rooms.own_receipts(user, room).await?).covers(&thread, event.position) {
            return Ok(true);
        }
        let counted = self.inner.unread.shared(user, room);
        let counted = counted.lock().await;
        Ok(counted.sent.covers(&thread, event.position))
    }

    pub async fn unwanted(&self, user: &UserId) -> Result<Unwanted, SyncError> {
        Unwanted::load(&self.inner.sources.accounts, user).await
    }
}
