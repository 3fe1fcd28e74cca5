//! Which servers may be in a room.

use ruma::{OwnedServerName, RoomId, ServerName, UserId};

use crate::{
    Error,
    rooms::Inner,
    store::{InviteStates, UserRooms},
};

/// Servers that are asked in turn.
const CANDIDATES_MAX: usize = 10;

impl Inner {
    /// Those that the user names, those in the room as far as it is known, those that came with an
    /// invite, and the one in the room's id. Without this server.
    pub(super) async fn candidates(
        &self,
        room: &RoomId,
        user: &UserId,
        via: &[OwnedServerName],
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut found: Vec<OwnedServerName> = via.to_vec();
        if let Some(view) = self.view(room).await? {
            found.extend(view.servers.keys().cloned());
        }
        if let Some(row) = self.store.get::<UserRooms>(user, room).await?
            && let Some(event) = self.events.get(&row.event_id).await?
        {
            found.push(event.pdu.sender().server_name().to_owned());
        }
        if let Some(shown) = self.store.get::<InviteStates>(user, room).await? {
            found.extend(shown.via.iter().filter_map(|name| ServerName::parse(name).ok()));
        }
        found.extend(room.server_name().map(ToOwned::to_owned));
        let mut candidates: Vec<OwnedServerName> = Vec::new();
        for server in found {
            if server != self.server_name && !candidates.contains(&server) {
                candidates.push(server);
            }
        }
        candidates.truncate(CANDIDATES_MAX);
        Ok(candidates)
    }

    /// Whether this server is in the room and can answer for it.
    pub(crate) async fn is_resident(&self, room: &RoomId) -> Result<bool, Error> {
        Ok(self.view(room).await?.is_some_and(|view| !view.local_joined.is_empty()))
    }
}
