//! The facts that this crate appends to the log.

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

/// A user's account data changed. Subject: the user id; payload: [`AccountDataFact`].
pub const ACCOUNT_DATA: u8 = 20;
/// A user's profile changed. Subject: the user id; payload: [`ProfileFact`].
pub const PROFILE: u8 = 21;
/// A user follows a thread, or does so no more. Subject: the user id; no payload.
pub const THREAD_SUBSCRIPTION: u8 = 22;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountDataFact {
    /// `None` for global account data.
    pub room_id: Option<OwnedRoomId>,
    pub event_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileFact {
    pub field: String,
}

impl AccountDataFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

impl ProfileFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}
