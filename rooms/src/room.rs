//! What is in memory of one room: the head for its writer, and the views for its readers.

use std::{collections::BTreeSet, sync::Arc};

use events::{Pdu, RoomVersion};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use storage::Position;

use crate::Root;

/// A room at a position: what readers see. Never ahead of the log.
#[derive(Clone, Debug)]
pub struct RoomView {
    pub room_id: OwnedRoomId,
    pub version: &'static RoomVersion,
    /// Of the room's newest event.
    pub position: Position,
    /// The current state.
    pub state: Root,
    pub extremities: Vec<OwnedEventId>,
    /// The greatest depth of the extremities.
    pub depth: u64,
    pub create: Arc<Pdu>,
    pub joined_members: u64,
    pub invited_members: u64,
    /// Joined users of this server.
    pub local_joined: Arc<BTreeSet<OwnedUserId>>,
}
