//! `GET /hierarchy`: one room of a hierarchy and the rooms right below it.

use ruma::{OwnedRoomId, RoomId, ServerName, events::room::member::MembershipState};

use crate::{Error, RoomSummary, RoomView, Rooms};

/// Children that one answer describes; about the others, other servers can be asked.
const CHILDREN_MAX: usize = 100;

#[derive(Clone, Debug)]
pub struct PeerHierarchy {
    pub room: RoomSummary,
    pub children: Vec<RoomSummary>,
    /// Children that this server knows and the other one may not know of.
    pub inaccessible_children: Vec<OwnedRoomId>,
}

impl Rooms {
    /// A room whose users of that server, or whose neighbours, may know of it.
    pub async fn peer_hierarchy(
        &self,
        server: &ServerName,
        room: &RoomId,
        suggested_only: bool,
    ) -> Result<PeerHierarchy, Error> {
        const NOT_FOUND: Error = Error::NotFound("the room");
        let (mut summary, view) = self.peer_summary(server, room).await?.ok_or(NOT_FOUND)?;
        let mut hierarchy = PeerHierarchy {
            room: summary.clone(),
            children: Vec::new(),
            inaccessible_children: Vec::new(),
        };
        if summary.room.room_type.as_deref() == Some("m.space") {
            let children = self.space_children(view.state, suggested_only).await?;
            for (index, child) in children.into_iter().enumerate() {
                summary.children_state.push(child.stripped);
                if index >= CHILDREN_MAX {
                    continue;
                }
                match self.peer_summary(server, &child.room_id).await? {
                    Some((child, _)) => hierarchy.children.push(child),
                    None if self.inner.is_resident(&child.room_id).await? => {
                        hierarchy.inaccessible_children.push(child.room_id);
                    }
                    None => {}
                }
            }
            hierarchy.room = summary;
        }
        Ok(hierarchy)
    }

    async fn peer_summary(
        &self,
        server: &ServerName,
        room: &RoomId,
    ) -> Result<Option<(RoomSummary, std::sync::Arc<RoomView>)>, Error> {
        let view = self.inner.view(room).await?.filter(|view| !view.local_joined.is_empty());
        let Some(view) = view else { return Ok(None) };
        let summary = self.summarise(None, &view).await?;
        let allowed = self.inner.allows_server(server, view.state).await?
            && (self.may_know(None, &view, &summary).await?
                || view.servers.contains_key(server)
                || self.is_neighbour(server, &view, &summary).await?
                || self.has_invited(server, &view).await?);
        Ok(allowed.then_some((summary, view)))
    }

    /// Whether the server is in a room whose members may join this one.
    async fn is_neighbour(
        &self,
        server: &ServerName,
        view: &RoomView,
        summary: &RoomSummary,
    ) -> Result<bool, Error> {
        if !view.version.restricted_joins() {
            return Ok(false);
        }
        for room in &summary.allowed_room_ids {
            let view = self.inner.view(room).await?;
            if view.is_some_and(|view| view.servers.contains_key(server)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_invited(&self, server: &ServerName, view: &RoomView) -> Result<bool, Error> {
        if view.invited_members == 0 {
            return Ok(false);
        }
        let members = self.inner.member_rows(&view.room_id).await?;
        Ok(members.iter().any(|(user, membership)| {
            user.server_name() == server && *membership == MembershipState::Invite
        }))
    }
}
