//! Read receipts: public, private, per thread.

use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, UserId};
use storage::Position;

use crate::{Error, Rooms};

#[derive(Clone, Copy, Debug)]
pub struct NewReceipt<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    /// `m.read`, `m.read.private` or a vendor's.
    pub kind: &'a str,
    pub event_id: &'a EventId,
    /// `main` or the id of a thread's root; unset: unthreaded.
    pub thread: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub user_id: OwnedUserId,
    pub kind: String,
    pub thread: Option<String>,
    pub event_id: OwnedEventId,
    /// Of the event.
    pub event_position: Position,
    pub ts: u64,
    /// When the receipt was set, on the log.
    pub position: Position,
}

impl Rooms {
    /// Moves a receipt forward. One that would move back is ignored.
    pub async fn set_receipt(&self, _receipt: NewReceipt<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Every receipt of the room, private ones included: the caller shows those only to their user.
    pub async fn receipts(&self, _room: &RoomId) -> Result<Vec<Receipt>, Error> {
        unimplemented!()
    }
    /// Receipts that were set with `after < position <= up_to`.
    pub async fn receipts_since(
        &self,
        _room: &RoomId,
        _after: Position,
        _up_to: Position,
    ) -> Result<Vec<Receipt>, Error> {
        unimplemented!()
    }
    /// The user's own receipts in the room, public and private.
    pub async fn own_receipts(
        &self,
        _user: &UserId,
        _room: &RoomId,
    ) -> Result<Vec<Receipt>, Error> {
        unimplemented!()
    }
}
