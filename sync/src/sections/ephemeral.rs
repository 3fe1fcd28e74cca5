//! `ephemeral`: who is typing, and how far everybody has read.

use std::collections::BTreeMap;

use rooms::Receipt;
use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId};
use storage::Position;

use crate::{
    SyncError,
    changes::Membership,
    compute::{Picked, Scope},
    json::{self, Events, Object},
};

/// `since` is 0 for a room that the client does not know.
pub(crate) async fn load(
    scope: &Scope<'_>,
    room: &Picked,
    since: Position,
) -> Result<Events, SyncError> {
    let mut events = Events::default();
    let filter = &scope.filter.ephemeral;
    if !filter.wants_room(&room.room_id) {
        return Ok(events);
    }
    if filter.wants_type("m.typing") {
        typing(scope, room, since, &mut events);
    }
    if filter.wants_type("m.receipt") && may_have_receipts(&room.membership, since) {
        receipts(scope, &room.room_id, since, &mut events).await?;
    }
    Ok(events)
}

/// The whole list whenever it changed: an empty one says that nobody types any more, also to who
/// may have heard of it from another answer.
fn typing(scope: &Scope<'_>, room: &Picked, since: Position, events: &mut Events) {
    let sequence = room.membership.room.as_ref().map_or(0, |mark| mark.typing.get());
    let (_, users) = scope.sync.sources.rooms.typing(&room.room_id);
    let told = scope.since.filter(|_| since > 0 && scope.same_boot);
    let tell = match told {
        Some(told) => sequence > told.typing,
        None => !users.is_empty() || sequence > 0,
    };
    if !tell {
        return;
    }
    write_typing(scope, &users, events.next());
}

/// An `m.typing` event.
pub(crate) fn write_typing(scope: &Scope<'_>, users: &[OwnedUserId], out: &mut Vec<u8>) {
    let mut event = Object::open(out);
    event.raw("type", b"\"m.typing\"");
    let mut content = Object::open(event.key("content"));
    let list = content.key("user_ids");
    let shown = users.iter().filter(|user| shows_sender(scope, user));
    for (index, user) in shown.enumerate() {
        list.push(if index == 0 { b'[' } else { b',' });
        json::text(list, user.as_str());
    }
    if list.last() == Some(&b':') {
        list.push(b'[');
    }
    list.push(b']');
    content.close();
    event.close();
}

fn shows_sender(scope: &Scope<'_>, user: &UserId) -> bool {
    scope.filter.ephemeral.wants_sender(user) && !scope.unwanted.users.contains(user)
}

/// `since` is 0 for a room that the client does not know.
pub(crate) fn may_have_receipts(membership: &Membership, since: Position) -> bool {
    let public = membership.room.as_ref().map_or(Position::MAX, |mark| mark.receipt.get());
    since == 0 || public > since || membership.own_receipt > since
}

async fn receipts(
    scope: &Scope<'_>,
    room: &RoomId,
    since: Position,
    events: &mut Events,
) -> Result<(), SyncError> {
    let receipts = read_receipts(scope, room, since).await?;
    let shown = receipts.iter().filter(|receipt| shows_receipt(scope, receipt));
    for content in contents(shown) {
        write_receipts(&content, events.next());
    }
    Ok(())
}

/// One `m.receipt` event, for those who get no more of a room; `None` if it would be empty. Of
/// other users only what is on the events in `on`, if given.
pub(crate) async fn receipts_in_one(
    scope: &Scope<'_>,
    room: &RoomId,
    since: Position,
    on: Option<&[OwnedEventId]>,
) -> Result<Option<Vec<u8>>, SyncError> {
    let mut receipts = read_receipts(scope, room, since).await?;
    receipts.retain(|receipt| {
        let is_placed = on.is_none_or(|events| events.contains(&receipt.event_id));
        (is_placed || receipt.user_id == scope.user) && shows_receipt(scope, receipt)
    });
    // Where a user has read up to one event in two ways, the receipt for everything says more.
    receipts.sort_by_key(|receipt| receipt.thread.is_some());
    let content = contents(receipts.iter()).into_iter().next();
    Ok(content.map(|content| {
        let mut event = Vec::with_capacity(256);
        write_receipts(&content, &mut event);
        event
    }))
}

async fn read_receipts(
    scope: &Scope<'_>,
    room: &RoomId,
    since: Position,
) -> Result<Vec<Receipt>, SyncError> {
    let rooms = &scope.sync.sources.rooms;
    Ok(if since == 0 {
        rooms.receipts(room).await?
    } else {
        rooms.receipts_since(room, since, scope.now.durable).await?
    })
}

fn shows_receipt(scope: &Scope<'_>, receipt: &Receipt) -> bool {
    // "Servers MUST NOT send the m.read.private receipt to any other user."
    let own = receipt.user_id == scope.user;
    receipt.position <= scope.now.durable
        && (own || receipt.kind != "m.read.private")
        && shows_sender(scope, &receipt.user_id)
}

/// Event, kind, user.
type Content<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, &'a Receipt>>>;

/// One content as a rule. A user may have read up to the same event in two ways, for a thread and
/// for everything: the second needs a content of its own.
fn contents<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Vec<Content<'a>> {
    let mut contents: Vec<Content<'a>> = Vec::new();
    for receipt in receipts {
        let (event, kind) = (receipt.event_id.as_str(), receipt.kind.as_str());
        let user = receipt.user_id.as_str();
        let free = contents.iter().position(|content| {
            content.get(event).and_then(|kinds| kinds.get(kind)?.get(user)).is_none()
        });
        let index = free.unwrap_or_else(|| {
            contents.push(Content::new());
            contents.len() - 1
        });
        let kinds = contents[index].entry(event).or_default();
        kinds.entry(kind).or_default().insert(user, receipt);
    }
    contents
}

fn write_receipts(content: &Content<'_>, out: &mut Vec<u8>) {
    let mut event = Object::open(out);
    event.raw("type", b"\"m.receipt\"");
    let mut by_event = Object::open(event.key("content"));
    for (event_id, kinds) in content {
        let mut by_kind = Object::open(by_event.key(event_id));
        for (kind, users) in kinds {
            let mut by_user = Object::open(by_kind.key(kind));
            for (user, receipt) in users {
                let mut data = Object::open(by_user.key(user));
                json::number(data.key("ts"), receipt.ts);
                if let Some(thread) = &receipt.thread {
                    json::text(data.key("thread_id"), thread);
                }
                data.close();
            }
            by_user.close();
        }
        by_kind.close();
    }
    by_event.close();
    event.close();
}
