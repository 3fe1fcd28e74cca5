//! `account_data`, `receipts` and `typing`: what goes with the rooms that a client looks at.

use std::collections::BTreeMap;

use accounts::AccountDataEvent;
use ruma::OwnedRoomId;

use super::{Extended, InScope};
use crate::{
    SyncError,
    json::{Events, Map, Object},
    sections::{account_data, ephemeral},
    sliding::{answer::Context, request::Reach, room::Before, snapshot::Snapshot},
};

pub(super) async fn account_data(
    context: &Context<'_>,
    reach: &Reach,
    snapshot: &Snapshot,
    in_scope: &[InScope<'_>],
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let base = context.base;
    let mut global = Events::default();
    let mut by_room: BTreeMap<OwnedRoomId, Vec<AccountDataEvent>> = BTreeMap::new();
    if base.since.is_none_or(|since| snapshot.account_data > since.durable) {
        for event in account_data::changes(base).await? {
            match event.room_id.clone() {
                Some(room_id) => by_room.entry(room_id).or_default().push(event),
                None => account_data::write_global(base, &event, &mut global),
            }
        }
    }
    let mut rooms = Map::default();
    for room in in_scope.iter().filter(|room| room.is_reached(reach)) {
        let room_id = &room.selected.entry.room_id;
        let mut events = Events::default();
        let changed = by_room.remove(room_id);
        let all = if base.since.is_some() && (room.before == Before::Never || room.was_behind) {
            Some(context.sync.sources.accounts.room_account_data(base.user, room_id).await?)
        } else {
            None
        };
        for event in all.or(changed).unwrap_or_default() {
            account_data::write_of_room(base, room_id, &event, &mut events);
        }
        if !events.is_empty() {
            events.write_list(rooms.key(room_id.as_str()));
        }
    }
    if base.since.is_some() {
        extended.account_data_moved = by_room.into_keys().collect();
    }
    if global.is_empty() && rooms.is_empty() {
        return Ok(());
    }
    extended.empty = false;
    let mut object = Object::open(extended.written.key("account_data"));
    if !global.is_empty() {
        global.write_list(object.key("global"));
    }
    if !rooms.is_empty() {
        rooms.write(object.key("rooms"));
    }
    object.close();
    Ok(())
}

pub(super) async fn receipts(
    context: &Context<'_>,
    reach: &Reach,
    in_scope: &[InScope<'_>],
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let mut rooms = Map::default();
    for room in in_scope.iter().filter(|room| room.is_reached(reach)) {
        let entry = room.selected.entry;
        if !entry.is_joined() {
            continue;
        }
        let since = room.before.position();
        if !ephemeral::may_have_receipts(&entry.membership, since) {
            continue;
        }
        // Of a room that is new to the client, only those that it can place.
        let shown = (room.before == Before::Never).then_some(room.shown.as_slice());
        if let Some(event) =
            ephemeral::receipts_in_one(context.base, &entry.room_id, since, shown).await?
        {
            rooms.key(entry.room_id.as_str()).extend_from_slice(&event);
        }
    }
    write_rooms("receipts", &rooms, extended);
    Ok(())
}

/// "Whenever a room enters scope on a connection, the server MUST send the room's current typing
/// state."
pub(super) fn typing(
    context: &Context<'_>,
    key: &str,
    reach: &Reach,
    in_scope: &[InScope<'_>],
    extended: &mut Extended,
) {
    let base = context.base;
    let mut rooms = Map::default();
    for room in in_scope.iter().filter(|room| room.is_reached(reach)) {
        let entry = room.selected.entry;
        let Some(mark) = entry.membership.room.as_ref().filter(|_| entry.is_joined()) else {
            continue;
        };
        let sequence = mark.typing.get();
        let told = base.since.filter(|_| base.same_boot && !room.was_behind);
        let tell_nobody = match (room.before, told) {
            (Before::Never, _) => false,
            (_, Some(told)) if sequence <= told.typing => continue,
            _ => sequence > 0,
        };
        let (_, users) = context.sync.sources.rooms.typing(&entry.room_id);
        if tell_nobody || !users.is_empty() {
            ephemeral::write_typing(base, &users, rooms.key(entry.room_id.as_str()));
        }
    }
    write_rooms(key, &rooms, extended);
}

fn write_rooms(key: &str, rooms: &Map, extended: &mut Extended) {
    if rooms.is_empty() {
        return;
    }
    extended.empty = false;
    let mut object = Object::open(extended.written.key(key));
    rooms.write(object.key("rooms"));
    object.close();
}
