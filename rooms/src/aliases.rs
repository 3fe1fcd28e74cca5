//! Room aliases of this server.

use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId};

use crate::{Error, Rooms};

impl Rooms {
    pub async fn create_alias(
        &self,
        _user: &UserId,
        _alias: &RoomAliasId,
        _room: &RoomId,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// Allowed to whoever made the alias, and to those who may change the canonical alias.
    pub async fn delete_alias(&self, _user: &UserId, _alias: &RoomAliasId) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn resolve_alias(&self, _alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Error> {
        unimplemented!()
    }
    pub async fn aliases_of(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
    ) -> Result<Vec<OwnedRoomAliasId>, Error> {
        unimplemented!()
    }
}
