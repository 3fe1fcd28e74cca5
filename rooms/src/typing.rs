//! Who is typing: in memory only.

use std::time::Duration;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio::sync::broadcast;

use crate::{Error, Rooms};

/// The list of a room changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingChange {
    pub room_id: OwnedRoomId,
    pub sequence: u64,
}

impl Rooms {
    pub async fn start_typing(
        &self,
        _room: &RoomId,
        _user: &UserId,
        _timeout: Duration,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn stop_typing(&self, _room: &RoomId, _user: &UserId) -> Result<(), Error> {
        unimplemented!()
    }
    /// Who types in the room now, and the sequence of the list's last change (0: never).
    pub fn typing(&self, _room: &RoomId) -> (u64, Vec<OwnedUserId>) {
        unimplemented!()
    }
    /// The sequence of the newest change in any room.
    pub fn typing_sequence(&self) -> u64 {
        unimplemented!()
    }
    pub fn typing_changes(&self) -> broadcast::Receiver<TypingChange> {
        unimplemented!()
    }
}
