//! Reading state: at a root, and as a viewer may see it.

use std::sync::Arc;

use ruma::{
    EventId, OwnedEventId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use storage::{Position, Range};

use crate::{
    Error, Profile, Rooms, Root, StoredEvent,
    rooms::Inner,
    store::{Events, Members, UserRooms},
    trie::{Entry, NewNodes},
};

impl Rooms {
    /// A durable event, whoever asks.
    pub async fn event_by_id(&self, event_id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        self.inner.events.get(event_id).await
    }

    pub async fn state_get(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        match self.state_id(root, event_type, state_key).await? {
            Some(id) => self.inner.events.get(&id).await,
            None => Ok(None),
        }
    }

    pub(crate) async fn state_id(
        &self,
        root: Root,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<OwnedEventId>, Error> {
        self.inner.trie.get(root, event_type, state_key, &NewNodes::default()).await
    }

    /// `(type, state key, event id)` of every entry.
    pub async fn state_iter(
        &self,
        root: Root,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        Ok(self.inner.trie.entries(root).await?.into_iter().map(into_parts).collect())
    }

    /// The entries of `new` that `old` does not have, or has otherwise. Costs what the difference
    /// costs.
    pub async fn state_diff(
        &self,
        old: Root,
        new: Root,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        Ok(self.inner.trie.diff(old, new).await?.into_iter().map(into_parts).collect())
    }

    /// The state just after the event.
    pub async fn state_after(&self, event: &StoredEvent) -> Result<Root, Error> {
        self.inner.state_after(event).await
    }

    /// The room's current state once the event was accepted: what state resolution made of it, where
    /// the room had forked.
    pub async fn room_state_after(&self, event: &StoredEvent) -> Result<Root, Error> {
        match event.room_state {
            Some(root) => Ok(root),
            None => self.state_after(event).await,
        }
    }

    /// The root of the state that the viewer may see: the current one, or that at the time of
    /// leaving.
    pub async fn visible_state(&self, viewer: &UserId, room: &RoomId) -> Result<Root, Error> {
        let view = self.inner.view(room).await?.ok_or(Error::NotJoined)?;
        let row = self.inner.store.get::<UserRooms>(viewer, room).await?;
        if let Some(row) = row.filter(|row| !row.forgotten) {
            if row.membership == MembershipState::Join {
                return Ok(view.state);
            }
            if let Some(seen) = row.seen {
                return Ok(seen.state);
            }
        }
        if self.is_world_readable(view.state).await? {
            Ok(view.state)
        } else {
            Err(Error::NotJoined)
        }
    }

    pub async fn state(
        &self,
        viewer: &UserId,
        room: &RoomId,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let root = self.visible_state(viewer, room).await?;
        let entries = self.inner.trie.entries(root).await?;
        self.inner.events_of(entries).await
    }

    pub async fn state_event(
        &self,
        viewer: &UserId,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Arc<StoredEvent>, Error> {
        let root = self.visible_state(viewer, room).await?;
        let event = self.state_get(root, event_type, state_key).await?;
        event.ok_or(Error::NotFound("the state event"))
    }

    /// Member events. `at` is a position of the log.
    pub async fn members(
        &self,
        viewer: &UserId,
        room: &RoomId,
        at: Option<Position>,
        membership: Option<&MembershipState>,
        not_membership: Option<&MembershipState>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let root = match at {
            Some(at) => self.visible_state_at(viewer, room, at).await?,
            None => self.visible_state(viewer, room).await?,
        };
        let mut members = self.member_events(root).await?;
        members.retain(|event| {
            let is = event.pdu.membership();
            membership.is_none_or(|wanted| is.as_ref() == Some(wanted))
                && not_membership.is_none_or(|unwanted| is.as_ref() != Some(unwanted))
        });
        Ok(members)
    }

    pub async fn joined_members(
        &self,
        viewer: &UserId,
        room: &RoomId,
    ) -> Result<Vec<(OwnedUserId, Profile)>, Error> {
        let row = self.inner.store.get::<UserRooms>(viewer, room).await?;
        if row.is_none_or(|row| row.membership != MembershipState::Join) {
            return Err(Error::NotJoined);
        }
        let root = self.visible_state(viewer, room).await?;
        let members = self.member_events(root).await?;
        let joined = members
            .into_iter()
            .filter(|event| event.pdu.membership() == Some(MembershipState::Join));
        Ok(joined.filter_map(|event| user_and_profile(&event)).collect())
    }

    /// What the user is called in the room; `None` if they are not joined to it. Whoever asks.
    pub async fn joined_profile(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<Profile>, Error> {
        let row = self.inner.store.get::<Members>(room, user).await?;
        let Some(row) = row.filter(|row| row.membership == MembershipState::Join) else {
            return Ok(None);
        };
        let event = self.event_by_id(&row.event_id).await?;
        Ok(event.and_then(|event| user_and_profile(&event)).map(|(_, profile)| profile))
    }

    pub(crate) async fn is_world_readable(&self, root: Root) -> Result<bool, Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            history_visibility: String,
        }
        let event = self.state_get(root, "m.room.history_visibility", "").await?;
        let content = event.and_then(|event| event.pdu.content_as::<Content>().ok());
        Ok(content.is_some_and(|content| content.history_visibility == "world_readable"))
    }

    async fn visible_state_at(
        &self,
        viewer: &UserId,
        room: &RoomId,
        at: Position,
    ) -> Result<Root, Error> {
        let newest = self.visible_state(viewer, room).await?;
        let row = self.inner.store.get::<UserRooms>(viewer, room).await?;
        if row.and_then(|row| row.seen).is_some_and(|seen| seen.position <= at) {
            return Ok(newest);
        }
        let up_to = at.min(self.inner.store.log().position());
        let range = Range::all().up_to(up_to).reversed().limit(1);
        let rows = self.inner.store.scan::<Events>(room, range).await?;
        match rows.into_iter().next() {
            Some(row) => {
                let event = self.inner.events.of_row(row.sort, row.value)?;
                self.state_after(&event).await
            }
            None => Ok(Root::EMPTY),
        }
    }

    async fn member_events(&self, root: Root) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut entries = self.inner.trie.entries(root).await?;
        entries.retain(|entry| entry.event_type == "m.room.member");
        self.inner.events_of(entries).await
    }
}

impl Inner {
    pub(crate) async fn events_of(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            events.extend(self.events.get(&entry.event_id).await?);
        }
        events.sort_by_key(|event| event.position);
        Ok(events)
    }
}

fn into_parts(entry: Entry) -> (String, String, OwnedEventId) {
    (entry.event_type, entry.state_key, entry.event_id)
}

pub(crate) fn user_and_profile(event: &StoredEvent) -> Option<(OwnedUserId, Profile)> {
    #[derive(Default, serde::Deserialize)]
    struct Content {
        #[serde(default)]
        displayname: Option<String>,
        #[serde(default)]
        avatar_url: Option<String>,
    }
    let user = UserId::parse(event.pdu.state_key()?).ok()?;
    let content = event.pdu.content_as::<Content>().unwrap_or_default();
    let Content { displayname, avatar_url } = content;
    Some((user, Profile { displayname, avatar_url }))
}
