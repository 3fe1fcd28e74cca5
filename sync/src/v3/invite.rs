//! `rooms.invite` and `rooms.knock`: rooms of which the user sees only what lets them decide.

use rooms::UserRoom;
use ruma::events::room::member::MembershipState;

use crate::{
    SyncError,
    compute::{Picked, RoomSections, Scope},
    json::{Events, Map, Object},
};

pub(crate) async fn invited(
    scope: &Scope<'_>,
    room: &Picked,
    sections: &mut RoomSections,
) -> Result<(), SyncError> {
    let Some(invite) = still(scope, room, &MembershipState::Invite).await? else { return Ok(()) };
    let event = scope.sync.sources.rooms.event_by_id(&invite.event_id).await?;
    if scope.unwanted.hides_invite_of(event.as_ref().map(|event| event.pdu.sender())) {
        return Ok(());
    }
    write(scope, &invite, "invite_state", &mut sections.invite).await
}

pub(crate) async fn knocked(
    scope: &Scope<'_>,
    room: &Picked,
    sections: &mut RoomSections,
) -> Result<(), SyncError> {
    let Some(knock) = still(scope, room, &MembershipState::Knock).await? else { return Ok(()) };
    write(scope, &knock, "knock_state", &mut sections.knock).await
}

/// `None` if there is nothing new, or if it is over already: the next answer tells what came of it.
async fn still(
    scope: &Scope<'_>,
    room: &Picked,
    state: &MembershipState,
) -> Result<Option<UserRoom>, SyncError> {
    if room.membership.position <= scope.after() {
        return Ok(None);
    }
    let now = scope.sync.sources.rooms.user_room(scope.user, &room.room_id).await?;
    Ok(now.filter(|now| now.membership == *state))
}

async fn write(
    scope: &Scope<'_>,
    room: &UserRoom,
    key: &str,
    section: &mut Map,
) -> Result<(), SyncError> {
    let mut events = Events::default();
    for event in scope.sync.sources.rooms.stripped_state(room, scope.user).await? {
        events.next().extend_from_slice(&event);
    }
    let mut object = Object::open(section.key(room.room_id.as_str()));
    events.write(object.key(key));
    object.close();
    Ok(())
}
