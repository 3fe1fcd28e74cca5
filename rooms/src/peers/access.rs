//! Whether another server may ask.

use std::sync::Arc;

use events::ServerAcl;
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, RoomId, ServerName, events::room::member::MembershipState};
use serde::Deserialize;
use storage::Range;

use crate::{
    Error, EventStatus, RoomView, Rooms, Root, StoredEvent, rooms::Inner, store::Members,
    trie::NewNodes,
};

/// Lists that are kept compiled.
const LISTS: usize = 1024;

/// Access control lists by the id of their event.
pub(crate) struct AclCache(Cache<OwnedEventId, Arc<ServerAcl>>);

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
        if let Some(acl) = self.acls.0.get(&id) {
            return Ok(acl.allows(server));
        }
        let Some(event) = self.events.get_latest(&id).await? else { return Ok(true) };
        let acl = Arc::new(ServerAcl::parse(event.pdu.content_str()));
        self.acls.0.insert(id, Arc::clone(&acl));
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

    /// Whether the history's visibility lets the server, which is in the room now, see the event.
    pub(super) async fn server_may_see(
        &self,
        server: &ServerName,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: String,
        }
        let nodes = NewNodes::default();
        let state = event.state_before;
        let id = self.trie.get(state, "m.room.history_visibility", "", &nodes).await?;
        let setting = match id {
            Some(id) => self.events.get_latest(&id).await?,
            None => None,
        };
        let setting = setting.and_then(|event| event.pdu.content_as::<Content>().ok());
        let invited_too = match setting.as_ref().map(|content| &*content.history_visibility) {
            Some("joined") => false,
            Some("invited") => true,
            _ => return Ok(true),
        };
        self.has_member_in(server, event.pdu.room_id(), state, invited_too).await
    }

    async fn has_member_in(
        &self,
        server: &ServerName,
        room: &RoomId,
        state: Root,
        invited_too: bool,
    ) -> Result<bool, Error> {
        let nodes = NewNodes::default();
        let rows = self.store.scan::<Members>(room, Range::all()).await?;
        let of_server = |user: &&str| user.split_once(':').is_some_and(|(_, name)| name == server);
        for user in rows.iter().map(|row| row.sort.as_str()).filter(of_server) {
            let Some(id) = self.trie.get(state, "m.room.member", user, &nodes).await? else {
                continue;
            };
            match self.membership_of(&id).await? {
                MembershipState::Join => return Ok(true),
                MembershipState::Invite if invited_too => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}
