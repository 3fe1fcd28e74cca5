//! The newest events of a room that a client may and wants to see.

use std::{collections::BTreeSet, sync::Arc};

use rooms::{Root, StoredEvent};
use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::Position;

use super::{event, summary};
use crate::{
    SyncError,
    compute::Scope,
    json::{self, Events, Object},
};

/// Events read to fill a timeline of which the filter takes few: this many for each that is
/// wanted, and some.
const SCAN_FACTOR: usize = 10;
const SCAN_MIN: usize = 200;
/// Read at first, and at a time: few are hidden from most clients.
const PAGE_MIN: usize = 5;
const PAGE_MAX: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// In the order of delivery.
    pub(crate) events: Vec<Arc<StoredEvent>>,
    /// There are more in the window.
    pub(crate) limited: bool,
    /// The newest event of the window, shown or not.
    pub(crate) newest: Option<Arc<StoredEvent>>,
    /// The oldest event of the window, shown or not, if the whole window was read.
    pub(crate) oldest: Option<Arc<StoredEvent>>,
    /// Users whose member event was read, and whether it says `join`.
    pub(crate) members: Vec<(OwnedUserId, bool)>,
    /// Something was read on which the room's summary depends.
    pub(crate) moves_summary: bool,
    /// Something in the window that may count as unread is not shown.
    pub(crate) hides: bool,
}

/// Which part of a room's log is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) after: Position,
    pub(crate) up_to: Position,
    /// Events that are shown of it: the newest.
    pub(crate) limit: usize,
    /// Position of the user's membership, where it is known to be `join` still.
    pub(crate) joined_since: Option<Position>,
}

pub(crate) async fn load(
    scope: &Scope<'_>,
    room: &RoomId,
    window: Window,
) -> Result<Timeline, SyncError> {
    let limit = window.limit;
    let (mut page, mut left) = ((limit + 1).max(PAGE_MIN), limit * SCAN_FACTOR + SCAN_MIN);
    let mut timeline = Timeline::default();
    let mut up_to = window.up_to;
    while timeline.events.len() <= limit {
        let rooms = &scope.sync.sources.rooms;
        let read = rooms.timeline(room, window.after, up_to, page, true).await?;
        timeline.note(&read);
        timeline.take_visible(scope, room, &read, window.joined_since).await?;
        if read.len() < page {
            break;
        }
        up_to = read.last().map_or(0, |event| event.position - 1);
        left = left.saturating_sub(read.len());
        if left == 0 {
            // Not everything was read, so there may be more.
            timeline.limited = true;
            timeline.oldest = None;
            break;
        }
        page = page.max((2 * page).min(PAGE_MAX));
    }
    timeline.cut(limit);
    Ok(timeline)
}

impl Timeline {
    /// The newest that is shown and that the user did not send.
    pub(crate) fn newest_of_others(&self, user: &UserId) -> Option<&StoredEvent> {
        self.events.iter().rev().find(|event| event.pdu.sender() != user).map(|event| &**event)
    }

    fn note(&mut self, read: &[Arc<StoredEvent>]) {
        if self.newest.is_none() {
            self.newest = read.first().cloned();
        }
        self.oldest = read.last().cloned().or_else(|| self.oldest.take());
        for event in read {
            self.moves_summary |= summary::depends_on(event.pdu.event_type());
            if event.pdu.event_type() != "m.room.member" {
                continue;
            }
            let user = event.pdu.state_key().and_then(|key| OwnedUserId::try_from(key).ok());
            if let Some(user) = user {
                self.members.push((user, event.pdu.membership() == Some(MembershipState::Join)));
            }
        }
    }

    async fn take_visible(
        &mut self,
        scope: &Scope<'_>,
        room: &RoomId,
        read: &[Arc<StoredEvent>],
        joined_since: Option<Position>,
    ) -> Result<(), SyncError> {
        let wanted: Vec<_> =
            read.iter().filter(|event| wants(scope, room, event)).cloned().collect();
        let kept_back = |event: &&Arc<StoredEvent>| !wants(scope, room, event);
        self.hides |= read.iter().filter(kept_back).any(|event| may_count(scope, event));
        if !wanted.is_empty() {
            let rooms = &scope.sync.sources.rooms;
            let visible = rooms.visible_or_current(scope.user, room, &wanted, joined_since).await?;
            self.events.extend(visible);
        }
        Ok(())
    }

    /// Newest first so far; turned around and cut.
    fn cut(&mut self, limit: usize) {
        if self.events.len() > limit {
            self.events.truncate(limit);
            self.limited = true;
        }
        if self.limited {
            self.hides = true;
            self.oldest = None;
        }
        self.events.reverse();
    }

    pub(crate) fn contains(&self, event_id: &ruma::EventId) -> bool {
        self.events.iter().any(|event| event.pdu.event_id() == event_id)
    }

    pub(crate) fn senders(&self) -> BTreeSet<&str> {
        self.events.iter().map(|event| event.pdu.sender().as_str()).collect()
    }

    /// The state before the first event shown; `end` if none is.
    pub(crate) fn start(&self, end: Root) -> Root {
        self.events.first().map_or(end, |event| event.state_before)
    }

    /// Appends the events.
    pub(crate) async fn write_events(
        &self,
        scope: &Scope<'_>,
        room: &RoomId,
        joined_throughout: bool,
        bundled: bool,
        out: &mut Events,
    ) -> Result<(), SyncError> {
        let rooms = &scope.sync.sources.rooms;
        let relations = if bundled {
            rooms.aggregations(scope.user, room, &self.events).await?
        } else {
            Default::default()
        };
        let membership = joined_throughout.then_some(MembershipState::Join);
        for event in &self.events {
            let relations = relations.get(event.pdu.event_id());
            event::write(scope, event, membership.clone(), relations, out.next()).await?;
        }
        Ok(())
    }

    pub(crate) fn prev_batch(&self, scope: &Scope<'_>) -> String {
        match self.events.first() {
            Some(first) => scope.sync.sources.rooms.token_before(first),
            // Everything up to here is before.
            None => scope.token.to_string(),
        }
    }

    pub(crate) async fn write(
        &self,
        scope: &Scope<'_>,
        room: &RoomId,
        joined_throughout: bool,
        bundled: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SyncError> {
        let mut events = Events::default();
        self.write_events(scope, room, joined_throughout, bundled, &mut events).await?;
        let mut object = Object::open(out);
        events.write_list(object.key("events"));
        object.raw("limited", if self.limited { b"true" } else { b"false" });
        json::text(object.key("prev_batch"), &self.prev_batch(scope));
        object.close();
        Ok(())
    }
}

/// Whether an event can change what is unread: one's own, and those of ignored users, cannot.
fn may_count(scope: &Scope<'_>, event: &StoredEvent) -> bool {
    let sender = event.pdu.sender();
    sender != scope.user && !scope.unwanted.users.contains(sender)
}

fn wants(scope: &Scope<'_>, room: &RoomId, event: &StoredEvent) -> bool {
    let (filter, pdu) = (&scope.filter.timeline, &event.pdu);
    // "Servers must still send state events sent by ignored users to clients."
    let ignored = !pdu.is_state() && scope.unwanted.users.contains(pdu.sender());
    !ignored
        && filter.wants_room(room)
        && filter.wants(pdu.event_type(), pdu.sender(), || pdu.content_str())
}
