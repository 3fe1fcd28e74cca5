//! `account_data`: what a user's clients keep here, for the account and for each room.

use accounts::AccountDataEvent;
use ruma::RoomId;

use crate::{
    SyncError,
    compute::Scope,
    json::{self, Events, Object},
};

/// Everything that is set, or what changed since the token.
pub(crate) async fn changes(scope: &Scope<'_>) -> Result<Vec<AccountDataEvent>, SyncError> {
    let accounts = &scope.sync.sources.accounts;
    let now = scope.now.durable;
    Ok(match scope.since {
        None => accounts.all_account_data(scope.user).await?,
        Some(since) => accounts.account_data_changes(scope.user, since.durable, now).await?,
    })
}

pub(crate) fn write_global(scope: &Scope<'_>, event: &AccountDataEvent, events: &mut Events) {
    if scope.filter.account_data.wants_type(&event.event_type) {
        write(event, events.next());
    }
}

pub(crate) fn write_of_room(
    scope: &Scope<'_>,
    room: &RoomId,
    event: &AccountDataEvent,
    events: &mut Events,
) {
    let filter = &scope.filter.room_account_data;
    if filter.wants_room(room) && filter.wants_type(&event.event_type) {
        write(event, events.next());
    }
}

fn write(event: &AccountDataEvent, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    json::text(object.key("type"), &event.event_type);
    object.raw("content", event.content.get().as_bytes());
    object.close();
}
