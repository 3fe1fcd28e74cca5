//! `state` and `state_after`: what a client must apply beside the timeline.

use std::{collections::BTreeSet, sync::Arc};

use rooms::{Root, StoredEvent};
use ruma::{OwnedEventId, RoomId, UserId};

use crate::{
    LazyMembers, StateAfter, SyncError,
    compute::Scope,
    json::{Events, Object},
    lazy::At,
    sections::{event, own_history::Stay, timeline::Timeline},
};

const MEMBER: &str = "m.room.member";

/// Between which states the client is to be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// What the client has; `None`: nothing.
    pub(super) known: Option<Root>,
    /// Before the first event of the timeline.
    pub(super) start: Root,
    /// After the newest event.
    pub(super) end: Root,
}

pub(super) struct State<'a> {
    pub(super) room: &'a RoomId,
    pub(super) span: Span,
    pub(super) timeline: &'a Timeline,
    /// Users of the summary, whose names the client needs.
    pub(super) heroes: &'a [ruma::OwnedUserId],
}

type Entry = (String, String, OwnedEventId);

impl State<'_> {
    /// The events of the section, in no particular order.
    pub(super) async fn load(&self, scope: &Scope<'_>) -> Result<Vec<Arc<StoredEvent>>, SyncError> {
        if !scope.filter.state.wants_room(self.room) {
            return Ok(Vec::new());
        }
        let mut entries = self.entries(scope).await?;
        let needed = self.needed_members(scope);
        let lazy = scope.filter.lazy_members != LazyMembers::Off;
        entries.retain(|(event_type, key, event_id)| {
            scope.filter.state.wants_type(event_type)
                && (scope.state_after.is_some() || !self.timeline.contains(event_id))
                // A client that has the state must be told of every change, needed or not.
                && (!lazy
                    || self.span.known.is_some()
                    || event_type != MEMBER
                    || needed.contains(key.as_str()))
        });
        let mut events = Vec::with_capacity(entries.len());
        for (.., event_id) in &entries {
            let event = scope.sync.sources.rooms.event_by_id(event_id).await?;
            events.push(event.ok_or_else(|| {
                SyncError::Internal(format!("{event_id} is in the state but not in the store"))
            })?);
        }
        if lazy && scope.filter.state.wants_type(MEMBER) {
            self.add_members(scope, &needed, &mut events).await?;
        }
        events.retain(|event| {
            let pdu = &event.pdu;
            scope.filter.state.wants(pdu.event_type(), pdu.sender(), || pdu.content_str())
        });
        Ok(events)
    }

    /// Where the section takes the client, before the timeline or instead of it.
    fn target(&self, scope: &Scope<'_>) -> Root {
        if scope.state_after.is_some() { self.span.end } else { self.span.start }
    }

    async fn entries(&self, scope: &Scope<'_>) -> Result<Vec<Entry>, SyncError> {
        let rooms = &scope.sync.sources.rooms;
        let Span { known, start, end } = self.span;
        let target = self.target(scope);
        let mut entries = match known {
            None => rooms.state_iter(target).await?,
            Some(known) if known == target => Vec::new(),
            Some(known) => rooms.state_diff(known, target).await?,
        };
        if scope.state_after.is_some() || start == end {
            return Ok(entries);
        }
        // What changed during the timeline without being shown in it (filtered out, or decided by
        // state resolution) would never reach the client otherwise.
        for (event_type, key, event_id) in rooms.state_diff(start, end).await? {
            if self.timeline.contains(&event_id) {
                continue;
            }
            entries.retain(|(other, other_key, _)| *other != event_type || *other_key != key);
            entries.push((event_type, key, event_id));
        }
        Ok(entries)
    }

    fn needed_members<'a>(&'a self, scope: &'a Scope<'_>) -> BTreeSet<&'a str> {
        let mut needed = self.timeline.senders();
        needed.extend(self.heroes.iter().map(|hero| hero.as_str()));
        if self.span.known.is_none() {
            needed.insert(scope.user.as_str());
        }
        needed
    }

    /// Lazily loaded members: those the client needs for this answer and does not have.
    async fn add_members(
        &self,
        scope: &Scope<'_>,
        needed: &BTreeSet<&str>,
        events: &mut Vec<Arc<StoredEvent>>,
    ) -> Result<(), SyncError> {
        let there: BTreeSet<String> =
            events.iter().filter_map(|event| member_of(event)).map(str::to_owned).collect();
        for member in needed.iter().filter(|member| !there.contains(**member)) {
            let target = self.target(scope);
            let event = scope.sync.sources.rooms.state_get(target, MEMBER, member).await?;
            let Some(event) = event else { continue };
            let in_timeline = self.timeline.contains(event.pdu.event_id());
            if (in_timeline && scope.state_after.is_none()) || self.is_told(scope, &event) {
                continue;
            }
            events.push(event);
        }
        if let Some(told) = &scope.told {
            for event in events.iter().chain(&self.timeline.events) {
                let member = member_of(event).and_then(|key| <&UserId>::try_from(key).ok());
                if let Some(member) = member {
                    let at = At::position(scope.now.durable);
                    told.tell(self.room, member, event.pdu.event_id(), at);
                }
            }
        }
        Ok(())
    }

    fn is_told(&self, scope: &Scope<'_>, event: &StoredEvent) -> bool {
        if scope.filter.lazy_members == LazyMembers::Redundant || self.span.known.is_none() {
            return false;
        }
        let (Some(told), Some(since)) = (&scope.told, scope.since) else { return false };
        let member = member_of(event).and_then(|key| <&UserId>::try_from(key).ok());
        let confirmed = At::position(since.durable);
        member.is_some_and(|member| told.has(self.room, member, event.pdu.event_id(), confirmed))
    }
}

fn member_of(event: &StoredEvent) -> Option<&str> {
    if event.pdu.event_type() == MEMBER { event.pdu.state_key() } else { None }
}

/// Writes the section under the name that the request asked for. `state_after` is there even if it
/// is empty: that is how a client knows that the server understood it.
pub(super) async fn write(
    scope: &Scope<'_>,
    state: &[Arc<StoredEvent>],
    stay: Option<&Stay>,
    object: &mut Object<'_>,
) -> Result<(), SyncError> {
    let key = match scope.state_after {
        None => "state",
        Some(StateAfter::Stable) => "state_after",
        Some(StateAfter::Unstable) => "org.matrix.msc4222.state_after",
    };
    let mut events = Events::default();
    for event in state {
        let membership = stay.and_then(|stay| stay.at(event));
        event::write(scope, event, membership, None, events.next()).await?;
    }
    events.write(object.key(key));
    Ok(())
}
