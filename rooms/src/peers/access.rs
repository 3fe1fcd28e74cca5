//! Whether another server may ask.

use std::sync::Arc;

use events::ServerAcl;
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use crate::{Error, EventStatus, RoomView, Rooms, Root, StoredEvent, rooms::Inner, trie::NewNodes};

/// Lists that are kept compiled.
const LISTS: usize = 1024;

/// Access control lists by the id of their event, and whether it was redacted.
pub(crate) struct AclCache(Cache<(OwnedEventId, bool), Arc<ServerAcl>>);

impl Default for AclCache {
    fn default() -> Self {
        Self(Cache::new(LISTS))
    }
}

impl Rooms {
    /// Whether the room's `m.room.server_acl` lets the server in. A room that this server does not
    /// know, or that has no list, lets everybody in.
    pub async fn allows_server(&self, server: &ServerName, room: &RoomId) -> Result<bool, Error> {
        match self.inner.view(room).await? {
            Some(view) => self.inner.allows_server(server, view.state).await,
            None => Ok(true),
        }
    }
}

impl Inner {
    pub(crate) async fn allows_server(
        &self,
        server: &ServerName,
        state: Root,
    ) -> Result<bool, Error> {
        let nodes = NewNodes::default();
        let Some(id) = self.trie.get(state, "m.room.server_acl", "", &nodes).await? else {
            return Ok(true);
        };
        let event = self.events.get_latest(&id).await?;
        let missing = || Error::Internal(format!("the list {id} is not in the store"));
        let event = event.ok_or_else(missing)?;
        let key = (id, event.redacted_by.is_some());
        if let Some(acl) = self.acls.0.get(&key) {
            return Ok(acl.allows(server));
        }
        let acl = Arc::new(ServerAcl::parse(event.pdu.content_str()));
        self.acls.0.insert(key, Arc::clone(&acl));
        Ok(acl.allows(server))
    }

    /// A room that local users are in and that `server` may come into.
    pub(super) async fn open_room(
        &self,
        server: &ServerName,
        room: &RoomId,
    ) -> Result<Arc<RoomView>, Error> {
        let view = self.view(room).await?.filter(|view| !view.local_joined.is_empty());
        let view = view.ok_or(Error::NotFound("the room"))?;
        if !self.allows_server(server, view.state).await? {
            let reason = "the room's access control list denies your server";
            return Err(Error::Forbidden(reason.to_owned()));
        }
        Ok(view)
    }

    /// A room that local users and users of `server` are in.
    pub(super) async fn shared_room(
        &self,
        server: &ServerName,
        room: &RoomId,
    ) -> Result<Arc<RoomView>, Error> {
        let view = self.open_room(server, room).await?;
        if !view.servers.contains_key(server) {
            return Err(Error::Forbidden("your server is not in the room".to_owned()));
        }
        Ok(view)
    }

    /// An event of the room's history.
    pub(super) async fn event_in(
        &self,
        room: &RoomId,
        event: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        let event = self.events.get(event).await?;
        event
            .filter(|event| event.pdu.room_id() == room && event.status == EventStatus::Accepted)
            .ok_or(Error::NotFound("the event"))
    }

    /// An event of the room that was judged and not rejected. "A soft failed event should be
    /// returned in response to federation requests": others may have accepted it, and then it
    /// counts here too once somebody builds on it.
    pub(super) async fn valid_event_in(
        &self,
        room: &RoomId,
        event: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        let event = self.events.get(event).await?;
        event
            .filter(|event| event.pdu.room_id() == room && is_valid(event.status))
            .ok_or(Error::NotFound("the event"))
    }
}

pub(super) fn is_valid(status: EventStatus) -> bool {
    matches!(status, EventStatus::Accepted | EventStatus::SoftFailed)
}
