//! `rooms.join`: what changed in a room in which the user is.

use std::sync::Arc;

use accounts::AccountDataEvent;
use rooms::{Root, StoredEvent};
use ruma::RoomId;
use storage::Position;

use super::state::{self, Span, State};
use crate::{
    SyncError,
    compute::{Picked, RoomSections, Scope},
    json::{self, Events, Object},
    sections::{
        account_data, ephemeral,
        own_history::{self, Stay},
        summary::{self, Summary},
        timeline::{self, Timeline, Window},
    },
    unread::{Count, Unread},
};

/// Presences told at once because the user came into a room.
const MAX_MET: usize = 1000;

/// How much of the room the client knows.
#[derive(Clone, Copy, Debug)]
struct Knowledge {
    /// Came in since the token, or there is no token: it knows nothing.
    new: bool,
    /// The state is to be told as if it knew nothing.
    full: bool,
    /// The user was joined at every event of the timeline.
    stayed: bool,
}

/// The parts of a joined room.
struct Parts {
    timeline: Timeline,
    state: Vec<Arc<StoredEvent>>,
    /// Only where there is much to tell.
    stay: Option<Stay>,
    summary: Option<Summary>,
    ephemeral: Events,
    account_data: Events,
    unread: Unread,
    /// The counts changed without anything else to show for it.
    counts_moved: bool,
}

pub(crate) async fn write(
    scope: &Scope<'_>,
    room: &Picked,
    changed_data: &[AccountDataEvent],
    sections: &mut RoomSections,
) -> Result<(), SyncError> {
    let room_id = &room.room_id;
    if let Some(mark) = &room.membership.room {
        scope.sync.hub.make_exact(mark).await?;
    }
    let knows = knowledge(scope, room).await?;
    let after = if knows.new { 0 } else { scope.after() };
    let window = Window {
        after,
        up_to: scope.now.durable,
        limit: scope.filter.timeline.timeline_limit(),
        joined_since: Some(room.membership.position),
    };
    let mut timeline = timeline::load(scope, room_id, window).await?;
    // Whoever came back may hold an older piece of the timeline: there is a gap behind it. Synapse
    // says so of every room that was joined since.
    timeline.limited |= knows.new && scope.since.is_some();
    meet(scope, room_id, knows, &timeline, sections).await?;
    if let Some(event) = timeline.newest_of_others(scope.user) {
        sections.newest.push((room_id.clone(), event.pdu.event_id().clone()));
    }

    let (span, summary) = span_and_summary(scope, room_id, knows, &timeline).await?;
    let heroes = summary.as_ref().map_or(&[][..], |summary| summary.heroes());
    let state = match span {
        Some(span) => {
            State { room: room_id, span, timeline: &timeline, heroes }.load(scope).await?
        }
        None => Vec::new(),
    };
    let stay = match span {
        Some(span) if knows.full => Stay::now(scope, span.end).await?,
        _ => None,
    };
    let since = if knows.new { 0 } else { scope.after() };
    let parts = Parts {
        state,
        stay,
        summary,
        ephemeral: ephemeral::load(scope, room, since).await?,
        account_data: room_account_data(scope, room_id, knows, changed_data).await?,
        counts_moved: counts_moved(scope, room, &timeline, since).await?,
        unread: unread(scope, room).await?,
        timeline,
    };
    if knows.full || parts.tell_something() {
        parts.write(scope, room_id, knows, sections.join.key(room_id.as_str())).await?;
    }
    Ok(())
}

async fn knowledge(scope: &Scope<'_>, room: &Picked) -> Result<Knowledge, SyncError> {
    if scope.since.is_none() {
        return Ok(Knowledge { new: true, full: true, stayed: false });
    }
    let position = room.membership.position;
    if position <= scope.after() {
        return Ok(Knowledge { new: false, full: scope.full_state, stayed: true });
    }
    let history = own_history::since(scope, &room.room_id, position).await?;
    let new = !history.stayed;
    if new {
        scope.sync.unread.forget(scope.user, &room.room_id);
    }
    Ok(Knowledge { new, full: new || scope.full_state, stayed: history.stayed })
}

/// Presence is told of those whom the user meets: everybody in a room they came into, and whoever
/// came into a room in which they are.
async fn meet(
    scope: &Scope<'_>,
    room: &RoomId,
    knows: Knowledge,
    timeline: &Timeline,
    sections: &mut RoomSections,
) -> Result<(), SyncError> {
    if scope.since.is_none() {
        return Ok(());
    }
    if knows.new {
        let users = scope.sync.sources.rooms.joined_local_users(room).await?;
        sections.newly_met.extend(users.iter().take(MAX_MET).cloned());
        return Ok(());
    }
    let came = timeline.members.iter().filter(|(_, joined)| *joined).map(|(user, _)| user.clone());
    sections.newly_met.extend(came);
    Ok(())
}

/// Between which states the client goes; `None` if the state did not move.
async fn span_and_summary(
    scope: &Scope<'_>,
    room: &RoomId,
    knows: Knowledge,
    timeline: &Timeline,
) -> Result<(Option<Span>, Option<Summary>), SyncError> {
    let rooms = &scope.sync.sources.rooms;
    let end = match &timeline.newest {
        Some(newest) => Some(rooms.state_after(newest).await?),
        None if knows.full => root_at(scope, room, scope.now.durable).await?,
        None => None,
    };
    let Some(end) = end else { return Ok((None, None)) };
    let known = if knows.full { None } else { known_root(scope, room, timeline).await? };
    let span = Span { known, start: timeline.start(end), end };
    let summary_moved = match known {
        None => true,
        // Behind a gap nothing was read.
        Some(known) if timeline.oldest.is_none() => {
            let changes = rooms.state_diff(known, end).await?;
            changes.iter().any(|(event_type, ..)| summary::depends_on(event_type))
        }
        Some(_) => timeline.moves_summary,
    };
    let summary = if summary_moved { Some(summary::load(scope, room, end).await?) } else { None };
    Ok((Some(span), summary))
}

/// The state that the client has.
async fn known_root(
    scope: &Scope<'_>,
    room: &RoomId,
    timeline: &Timeline,
) -> Result<Option<Root>, SyncError> {
    match &timeline.oldest {
        // The whole window was read: what was before it is what was before its first event.
        Some(oldest) => Ok(Some(oldest.state_before)),
        None => root_at(scope, room, scope.after()).await,
    }
}

pub(super) async fn root_at(
    scope: &Scope<'_>,
    room: &RoomId,
    position: Position,
) -> Result<Option<Root>, SyncError> {
    let rooms = &scope.sync.sources.rooms;
    let last = rooms.timeline(room, 0, position, 1, true).await?;
    match last.first() {
        Some(event) => Ok(Some(rooms.state_after(event).await?)),
        None => Ok(None),
    }
}

/// Whoever comes into a room gets all that they keep for it; it may be older than the token.
async fn room_account_data(
    scope: &Scope<'_>,
    room: &RoomId,
    knows: Knowledge,
    changed: &[AccountDataEvent],
) -> Result<Events, SyncError> {
    let mut events = Events::default();
    if knows.new && scope.since.is_some() {
        let accounts = &scope.sync.sources.accounts;
        for event in accounts.room_account_data(scope.user, room).await? {
            account_data::write_of_room(scope, room, &event, &mut events);
        }
        return Ok(events);
    }
    for event in changed {
        account_data::write_of_room(scope, room, event, &mut events);
    }
    Ok(events)
}

async fn unread(scope: &Scope<'_>, room: &Picked) -> Result<Unread, SyncError> {
    let own_receipt = room.membership.own_receipt;
    let (unread, now) = (&scope.sync.unread, scope.now.durable);
    unread.count(scope.user, &room.room_id, own_receipt, now, &scope.unwanted.users).await
}

/// "A count change alone makes the room appear": the user read something elsewhere, or an event
/// counts that the filter keeps from the timeline.
async fn counts_moved(
    scope: &Scope<'_>,
    room: &Picked,
    timeline: &Timeline,
    since: Position,
) -> Result<bool, SyncError> {
    if timeline.events.is_empty() && timeline.hides {
        return Ok(true);
    }
    if room.membership.own_receipt <= since {
        return Ok(false);
    }
    let own = scope.sync.sources.rooms.own_receipts(scope.user, &room.room_id).await?;
    let news = since + 1..=scope.now.durable;
    Ok(own.iter().any(|receipt| news.contains(&receipt.position)))
}

impl Parts {
    fn tell_something(&self) -> bool {
        !self.timeline.events.is_empty()
            || self.timeline.limited
            || !self.state.is_empty()
            || !self.ephemeral.is_empty()
            || !self.account_data.is_empty()
            || self.counts_moved
    }

    async fn write(
        &self,
        scope: &Scope<'_>,
        room: &RoomId,
        knows: Knowledge,
        out: &mut Vec<u8>,
    ) -> Result<(), SyncError> {
        let mut object = Object::open(out);
        if let Some(summary) = &self.summary {
            summary.write(object.key("summary"));
        }
        state::write(scope, &self.state, self.stay.as_ref(), &mut object).await?;
        let bundled = knows.new || self.timeline.limited;
        let stayed = knows.stayed || own_history::stayed(self.stay.as_ref(), &self.timeline.events);
        self.timeline.write(scope, room, stayed, bundled, object.key("timeline")).await?;
        self.ephemeral.write(object.key("ephemeral"));
        self.account_data.write(object.key("account_data"));
        write_unread(scope, &self.unread, &mut object);
        object.close();
        Ok(())
    }
}

fn write_unread(scope: &Scope<'_>, unread: &Unread, object: &mut Object<'_>) {
    if !scope.filter.unread_thread_notifications {
        write_count(unread.total(), object.key("unread_notifications"));
        return;
    }
    write_count(unread.main, object.key("unread_notifications"));
    if !unread.threads.is_empty() {
        let mut threads = Object::open(object.key("unread_thread_notifications"));
        for (root, count) in &unread.threads {
            write_count(*count, threads.key(root));
        }
        threads.close();
    }
}

fn write_count(count: Count, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    json::number(object.key("highlight_count"), count.highlights);
    json::number(object.key("notification_count"), count.notifications);
    object.close();
}
