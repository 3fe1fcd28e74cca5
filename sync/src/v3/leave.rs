//! `rooms.leave`: rooms that the user left, or was made to leave.

use std::sync::Arc;

use accounts::AccountDataEvent;
use rooms::{EventStatus, StoredEvent};
use ruma::events::room::member::MembershipState;

use super::{
    join::root_at,
    state::{self, Span, State},
};
use crate::{
    SyncError,
    compute::{Picked, RoomSections, Scope},
    json::{Events, Object},
    sections::{
        account_data,
        own_history::{self, OwnHistory},
        timeline::{self, Timeline, Window},
    },
};

pub(crate) async fn write(
    scope: &Scope<'_>,
    room: &Picked,
    data: &[AccountDataEvent],
    sections: &mut RoomSections,
) -> Result<(), SyncError> {
    let left_at = room.membership.position;
    let news = left_at > scope.after();
    if !news || is_forgotten(scope, room).await? {
        return Ok(());
    }
    let history = own_history::since(scope, &room.room_id, left_at).await?;
    let mut timeline = left_timeline(scope, room, &history).await?;
    if timeline.events.is_empty() && !history.was_joined {
        if scope.since.is_none() {
            return Ok(());
        }
        timeline.events.extend(end_elsewhere(scope, room).await?);
    }
    let state = left_state(scope, room, &history, &timeline).await?;
    let mut account_data = Events::default();
    for event in data {
        account_data::write_of_room(scope, &room.room_id, event, &mut account_data);
    }
    let mut object = Object::open(sections.leave.key(room.room_id.as_str()));
    state::write(scope, &state, None, &mut object).await?;
    let bundled = scope.since.is_none() || timeline.limited;
    let out = object.key("timeline");
    timeline.write(scope, &room.room_id, false, bundled, out).await?;
    account_data.write(object.key("account_data"));
    object.close();
    Ok(())
}

async fn is_forgotten(scope: &Scope<'_>, room: &Picked) -> Result<bool, SyncError> {
    let now = scope.sync.sources.rooms.user_room(scope.user, &room.room_id).await?;
    Ok(now.is_none_or(|now| {
        let left = matches!(now.membership, MembershipState::Leave | MembershipState::Ban);
        left && now.forgotten
    }))
}

/// Up to the end of the membership. Who never was in gets the end only: a rejected invitation
/// shows nothing of the room.
async fn left_timeline(
    scope: &Scope<'_>,
    room: &Picked,
    history: &OwnHistory,
) -> Result<Timeline, SyncError> {
    let left_at = room.membership.position;
    let after = match scope.since {
        _ if !history.was_joined => left_at - 1,
        Some(since) if !history.came_in => since.durable,
        _ => 0,
    };
    let limit = scope.filter.timeline.timeline_limit();
    timeline::load(
        scope,
        &room.room_id,
        Window { after, up_to: left_at, limit, joined_since: None },
    )
    .await
}

/// The end of an invitation, or of a knock, in a room that this server is not in, and whose log it
/// does not keep.
async fn end_elsewhere(
    scope: &Scope<'_>,
    room: &Picked,
) -> Result<Option<Arc<StoredEvent>>, SyncError> {
    let rooms = &scope.sync.sources.rooms;
    let row = rooms.user_room(scope.user, &room.room_id).await?;
    let Some(row) = row.filter(|row| row.position == room.membership.position) else {
        return Ok(None);
    };
    let event = rooms.event_by_id(&row.event_id).await?;
    let filter = &scope.filter.timeline;
    Ok(event.filter(|event| {
        let pdu = &event.pdu;
        event.status == EventStatus::Outlier
            && filter.wants_room(&room.room_id)
            && filter.wants(pdu.event_type(), pdu.sender(), || pdu.content_str())
    }))
}

async fn left_state(
    scope: &Scope<'_>,
    room: &Picked,
    history: &OwnHistory,
    timeline: &Timeline,
) -> Result<Vec<Arc<StoredEvent>>, SyncError> {
    let Some(newest) = timeline.newest.as_ref().filter(|_| history.was_joined) else {
        return Ok(Vec::new());
    };
    let end = scope.sync.sources.rooms.state_after(newest).await?;
    let known = if scope.since.is_none() || history.came_in || scope.full_state {
        None
    } else {
        root_at(scope, &room.room_id, scope.after()).await?
    };
    let span = Span { known, start: timeline.start(end), end };
    State { room: &room.room_id, span, timeline, heroes: &[] }.load(scope).await
}
