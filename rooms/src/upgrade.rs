//! Replacing a room by one of another version.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{Error, Profile, Rooms};

#[derive(Clone, Debug)]
pub struct UpgradeRoom<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub sender_profile: Profile,
    pub new_version: &'a str,
    /// Only for versions that know them (12 on).
    pub additional_creators: Vec<OwnedUserId>,
}

impl Rooms {
    /// Returns the id of the replacement.
    pub async fn upgrade(&self, _request: UpgradeRoom<'_>) -> Result<OwnedRoomId, Error> {
        unimplemented!()
    }
}
