//! The facts that rooms write to the log.

use bytes::Bytes;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, events::room::member::MembershipState,
};
use serde::{Deserialize, Serialize};
use storage::{Fact, Position};

/// Kinds of facts; unique in the process.
pub mod stream {
    /// An event was appended. Subject: the room id. Payload: [`RoomEventFact`](crate::RoomEventFact).
    pub const EVENT: u8 = 1;
    /// A receipt moved. Subject: the room id. Payload: [`ReceiptFact`](crate::ReceiptFact).
    pub const RECEIPT: u8 = 2;
    /// A local user's membership changed. Subject: the user id, so that who is not yet in the
    /// room is woken. Payload: [`MembershipFact`](crate::MembershipFact).
    pub const MEMBERSHIP: u8 = 3;
    /// Other servers must be sent an event. Subject: the room id. Payload:
    /// [`RelayFact`](crate::RelayFact).
    pub const RELAY: u8 = 4;
    /// An event found its place in history without being news. Subject: the room id. No payload.
    pub const HISTORY: u8 = 5;
}

/// The position of the fact is the position of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomEventFact {
    pub event_id: OwnedEventId,
    pub event_type: String,
    pub state_key: Option<String>,
    pub sender: OwnedUserId,
    /// For `m.room.member`: whose membership is now what.
    pub membership: Option<(OwnedUserId, MembershipState)>,
    /// For a redaction: the event it redacted.
    pub redacts: Option<OwnedEventId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipFact {
    pub room_id: OwnedRoomId,
    pub membership: MembershipState,
    pub event_position: Position,
}

/// Written for an event of a local user, or one that this server let in for another server, if
/// there is somebody else to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayFact {
    pub event_id: OwnedEventId,
    /// Those in the room before or after the event. Without this server, and without the one that
    /// handed the event in.
    pub servers: Vec<OwnedServerName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFact {
    pub user_id: OwnedUserId,
    /// `m.read`, `m.read.private` or a vendor's.
    pub kind: String,
    /// Empty for an unthreaded receipt.
    pub thread: String,
    pub event_id: OwnedEventId,
}

macro_rules! payload {
    ($($name:ident),*) => {$(
        impl $name {
            /// `None` if the payload is not of this kind.
            pub fn from_fact(fact: &Fact) -> Option<Self> {
                postcard::from_bytes(&fact.payload).ok()
            }

            pub(crate) fn to_payload(&self) -> Bytes {
                postcard::to_stdvec(self).expect("facts hold only what postcard can write").into()
            }
        }
    )*};
}
payload!(RoomEventFact, MembershipFact, RelayFact, ReceiptFact);
