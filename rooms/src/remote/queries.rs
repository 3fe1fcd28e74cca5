//! Questions whose answers are not kept: aliases, the directories and the hierarchies of others.

use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::worse;
use crate::{Error, Rooms};

impl Rooms {
    /// The room of an alias and servers that are in it, wherever the alias belongs. `None` if there
    /// is no such alias.
    pub async fn find_alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<Option<(OwnedRoomId, Vec<OwnedServerName>)>, Error> {
        let server = alias.server_name();
        if server == self.server_name() {
            let Some(room) = self.find_own_alias(alias).await? else { return Ok(None) };
            let view = self.inner.view(&room).await?;
            let mut servers: Vec<_> =
                view.map(|view| view.servers.keys().cloned().collect()).unwrap_or_default();
            if let Some(own) = servers.iter().position(|name| name == self.server_name()) {
                servers.swap(0, own);
            }
            return Ok(Some((room, servers)));
        }
        match self.inner.ports.remote.directory(server, alias).await {
            Ok(found) => {
                let mut servers = found.servers;
                if !servers.iter().any(|name| name == server) {
                    servers.push(server.to_owned());
                }
                Ok(Some((found.room_id, servers)))
            }
            Err(crate::ports::RemoteError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The room of an alias of this server, which may be made now that it is asked for.
    async fn find_own_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Error> {
        if let Some(room) = self.resolve_alias(alias).await? {
            return Ok(Some(room));
        }
        match self.inner.alias_source.get() {
            Some(source) if source.make(alias).await => self.resolve_alias(alias).await,
            _ => Ok(None),
        }
    }

    /// The body of `GET /hierarchy` of a server that is in the room.
    pub async fn remote_hierarchy(
        &self,
        user: &UserId,
        room: &RoomId,
        via: &[OwnedServerName],
        suggested_only: bool,
    ) -> Result<Box<RawValue>, Error> {
        let mut problem = None;
        for server in self.inner.candidates(room, user, via).await? {
            match self.inner.ports.remote.hierarchy(&server, room, suggested_only).await {
                Ok(found) => return Ok(found),
                Err(error) => problem = Some(worse(problem, error)),
            }
        }
        Err(problem.map_or(Error::NotFound("the room"), Error::Remote))
    }

    /// The body of `POST /publicRooms` of another server.
    pub async fn remote_public_rooms(
        &self,
        server: &ServerName,
        request: Box<RawValue>,
    ) -> Result<Box<RawValue>, Error> {
        Ok(self.inner.ports.remote.public_rooms(server, request).await?)
    }
}
