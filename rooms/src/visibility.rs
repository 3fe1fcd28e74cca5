//! Which events of a room a user may see: "the state of the room at that event" decides, and
//! whether the user was in the room then or came later.

use std::{collections::HashMap, sync::Arc};

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use storage::Position;

use crate::{
    Error, EventStatus, Rooms, Root, StoredEvent,
    store::{Members, UserRooms},
};

/// The type of events by which servers join branches. They say nothing, and no client is shown them.
pub(crate) const DUMMY: &str = "org.matrix.dummy_event";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    WorldReadable,
    Shared,
    Invited,
    Joined,
}

impl Visibility {
    /// "By default if no `history_visibility` is set, or if the value is not understood, the
    /// visibility is assumed to be `shared`."
    pub(crate) fn of(event: Option<&StoredEvent>) -> Self {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: String,
        }
        let content = event.and_then(|event| event.pdu.content_as::<Content>().ok());
        match content.as_ref().map(|content| content.history_visibility.as_str()) {
            Some("world_readable") => Self::WorldReadable,
            Some("invited") => Self::Invited,
            Some("joined") => Self::Joined,
            _ => Self::Shared,
        }
    }
}

/// How the viewer stands to the room now.
struct Standing {
    /// The viewer is joined, and no membership of theirs is newer than this.
    joined_since: Option<Position>,
    /// The end of their last time in the room: before it they joined. 0 if they never did.
    joined_after: Position,
    /// Depth of the event that was that end. What was filled into the history has no place in the
    /// order of delivery that tells before from after.
    left_at_depth: Option<u64>,
}

impl Standing {
    fn of_stranger() -> Self {
        Self { joined_since: None, joined_after: 0, left_at_depth: None }
    }

    fn of_member(joined_since: Position) -> Self {
        let (joined_since, joined_after) = (Some(joined_since), Position::MAX);
        Self { joined_since, joined_after, left_at_depth: None }
    }

    /// Where the event stands among those that were delivered.
    fn position_of(&self, event: &StoredEvent) -> Position {
        let is_later = self.left_at_depth.is_some_and(|depth| event.pdu.depth() >= depth);
        if event.is_historic() && is_later { Position::MAX } else { event.delivered_at() }
    }
}

/// What one viewer sees of one room.
struct Sight<'a> {
    rooms: &'a Rooms,
    viewer: &'a UserId,
    standing: Standing,
    /// Most events of a page share a state.
    by_root: HashMap<Root, (Visibility, MembershipState)>,
    /// Whether senders were erased.
    erased: HashMap<OwnedUserId, bool>,
}

/// What the viewer sees of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// To those who were in the room.
    All,
    /// To those who were not: all, unless the sender was erased.
    UnlessErased,
}

impl Rooms {
    /// The events that the viewer may see by history visibility, in the order given.
    pub async fn visible(
        &self,
        viewer: &UserId,
        room: &RoomId,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let standing = self.standing(viewer, room).await?;
        self.visible_from(viewer, standing, events).await
    }

    async fn visible_from(
        &self,
        viewer: &UserId,
        standing: Standing,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let (by_root, erased) = (HashMap::new(), HashMap::new());
        let mut sight = Sight { rooms: self, viewer, standing, by_root, erased };
        let mut visible = Vec::with_capacity(events.len());
        for event in events {
            if !self.is_for_clients(event).await? {
                continue;
            }
            match sight.shown(event).await? {
                Shown::Nothing => {}
                Shown::UnlessErased if sight.is_erased(event.pdu.sender()).await? => {
                    visible.push(Arc::new(event.of_erased()));
                }
                Shown::All | Shown::UnlessErased => visible.push(Arc::clone(event)),
            }
        }
        Ok(visible)
    }

    /// [`Rooms::visible`], and for somebody who is in the room also what is part of its state now:
    /// they are told of it anyway, and clients look for changes of the state in the timeline.
    ///
    /// `joined_since`: the position of the viewer's newest membership, for a caller who knows that
    /// it is `join`; then it is not read.
    pub async fn visible_or_current(
        &self,
        viewer: &UserId,
        room: &RoomId,
        events: &[Arc<StoredEvent>],
        joined_since: Option<Position>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut visible = match joined_since {
            Some(since) if !events.is_empty() => {
                self.visible_from(viewer, Standing::of_member(since), events).await?
            }
            _ => self.visible(viewer, room, events).await?,
        };
        if visible.len() == events.len() {
            return Ok(visible);
        }
        let Some(view) = self.room(room).await? else { return Ok(visible) };
        if !view.local_joined.contains(viewer) {
            return Ok(visible);
        }
        let mut shown = visible.drain(..).peekable();
        let mut all = Vec::with_capacity(events.len());
        for event in events {
            if let Some(event) = shown.next_if(|next| next.event_id() == event.event_id()) {
                all.push(event);
            } else if self.is_current(event, view.state).await? {
                all.push(Arc::clone(event));
            }
        }
        Ok(all)
    }

    async fn is_current(&self, event: &StoredEvent, state: Root) -> Result<bool, Error> {
        let Some(state_key) = event.pdu.state_key() else { return Ok(false) };
        let current = self.state_get(state, event.pdu.event_type(), state_key).await?;
        Ok(current.is_some_and(|current| current.pdu.event_id() == event.pdu.event_id()))
    }

    async fn is_for_clients(&self, event: &StoredEvent) -> Result<bool, Error> {
        if event.status != EventStatus::Accepted || event.pdu.event_type() == DUMMY {
            return Ok(false);
        }
        // "If the server would apply a redaction, the redaction event is also sent to clients.
        // Otherwise, the server simply waits": from version 3 on, before it is no event at all.
        if event.pdu.event_type() != "m.room.redaction" || event.version.event_id_in_pdu() {
            return Ok(true);
        }
        // One that was redacted itself may not say any more what it redacted.
        let Some(target) = event.pdu.redacts().filter(|_| event.redacted_by.is_none()) else {
            return Ok(true);
        };
        let target = self.inner.events.get(target).await?;
        Ok(target.is_some_and(|target| {
            target.redacted_by.is_some() && target.pdu.room_id() == event.pdu.room_id()
        }))
    }

    async fn standing(&self, viewer: &UserId, room: &RoomId) -> Result<Standing, Error> {
        let row = self.inner.store.get::<Members>(room, viewer).await?;
        match row {
            None => Ok(Standing::of_stranger()),
            Some(row) if row.membership == MembershipState::Join => {
                Ok(Standing::of_member(row.position))
            }
            Some(_) => {
                let row = self.inner.store.get::<UserRooms>(viewer, room).await?;
                let Some(seen) = row.and_then(|row| row.seen) else {
                    return Ok(Standing::of_stranger());
                };
                let last = self.inner.events_at(room, vec![seen.position]).await?;
                let left_at_depth = Some(last.first().map_or(0, |event| event.pdu.depth()));
                Ok(Standing { joined_since: None, joined_after: seen.position, left_at_depth })
            }
        }
    }
}

impl Sight<'_> {
    async fn shown(&mut self, event: &StoredEvent) -> Result<Shown, Error> {
        // The user was in the room for whatever came after their join on the same branch; nothing
        // need be looked up for what is delivered as it happens.
        let is_later = |since| event.delivered_at() >= since && event.room_state.is_none();
        if self.standing.joined_since.is_some_and(is_later) {
            return Ok(Shown::All);
        }
        // Clients must learn what became of the user, so their own memberships are never hidden.
        if event.pdu.membership().is_some() && event.pdu.state_key() == Some(self.viewer.as_str()) {
            return Ok(Shown::All);
        }
        let (before, membership) = self.at(event.state_before).await?;
        let position = self.standing.position_of(event);
        if membership == MembershipState::Join {
            return Ok(Shown::All);
        }
        if self.suffices(before, &membership, position) {
            return Ok(Shown::UnlessErased);
        }
        // "the user should be allowed to see the event if the `history_visibility` before *or*
        // after the event would allow them to see it."
        let sets = event.pdu.event_type() == "m.room.history_visibility"
            && event.pdu.state_key() == Some("");
        let suffices = sets && self.suffices(Visibility::of(Some(event)), &membership, position);
        Ok(if suffices { Shown::UnlessErased } else { Shown::Nothing })
    }

    async fn is_erased(&mut self, sender: &UserId) -> Result<bool, Error> {
        if let Some(erased) = self.erased.get(sender) {
            return Ok(*erased);
        }
        let erased = self.rooms.inner.is_erased(sender).await?;
        self.erased.insert(sender.to_owned(), erased);
        Ok(erased)
    }

    /// The rules 1 to 5 of the specification.
    fn suffices(
        &self,
        visibility: Visibility,
        membership: &MembershipState,
        position: Position,
    ) -> bool {
        match visibility {
            Visibility::WorldReadable => true,
            _ if *membership == MembershipState::Join => true,
            Visibility::Shared => position < self.standing.joined_after,
            Visibility::Invited => *membership == MembershipState::Invite,
            Visibility::Joined => false,
        }
    }

    /// Visibility and the viewer's membership in a state.
    async fn at(&mut self, root: Root) -> Result<(Visibility, MembershipState), Error> {
        if let Some(known) = self.by_root.get(&root) {
            return Ok(known.clone());
        }
        let visibility = self.rooms.state_get(root, "m.room.history_visibility", "").await?;
        let member = self.rooms.state_get(root, "m.room.member", self.viewer.as_str()).await?;
        let membership = member.and_then(|member| member.pdu.membership());
        let found =
            (Visibility::of(visibility.as_deref()), membership.unwrap_or(MembershipState::Leave));
        self.by_root.insert(root, found.clone());
        Ok(found)
    }
}
