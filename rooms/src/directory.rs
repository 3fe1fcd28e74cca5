//! The published room directory.

use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomId, UserId};

use crate::{Error, Rooms};

#[derive(Clone, Copy, Debug, Default)]
pub struct PublicRoomsQuery<'a> {
    pub search: Option<&'a str>,
    /// Room types to include (`None` in the list: rooms without a type); unset: all.
    pub room_types: Option<&'a [Option<String>]>,
    pub limit: usize,
    pub since: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRoom {
    pub room_id: OwnedRoomId,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub canonical_alias: Option<OwnedRoomAliasId>,
    pub avatar_url: Option<String>,
    pub room_type: Option<String>,
    /// `public`, `knock` and so on.
    pub join_rule: String,
    pub num_joined_members: u64,
    pub world_readable: bool,
    pub guest_can_join: bool,
}

#[derive(Clone, Debug)]
pub struct PublicRoomsPage {
    pub chunk: Vec<PublicRoom>,
    pub next_batch: Option<String>,
    pub prev_batch: Option<String>,
    pub total: u64,
}

impl Rooms {
    pub async fn is_published(&self, _room: &RoomId) -> Result<bool, Error> {
        unimplemented!()
    }
    pub async fn set_published(
        &self,
        _user: &UserId,
        _room: &RoomId,
        _published: bool,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn public_rooms(
        &self,
        _query: PublicRoomsQuery<'_>,
    ) -> Result<PublicRoomsPage, Error> {
        unimplemented!()
    }
}
