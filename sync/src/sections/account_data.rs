//! `account_data`: what a user's clients keep here, for the account and for each room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accounts::AccountDataEvent;
use ruma::{OwnedUserId, RoomId, UserId};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    SyncError,
    changes::UserMark,
    compute::Scope,
    json::{self, Events, Object},
    service::Inner,
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

/// `m.ignored_user_list`, read again only when the user's account data moved.
pub(crate) async fn ignored_users(
    sync: &Inner,
    user: &UserMark,
) -> Result<Arc<BTreeSet<OwnedUserId>>, SyncError> {
    let moved = user.account_data.get();
    let known = user.ignored.lock().clone();
    if let Some((_, ignored)) = known.filter(|(at, _)| *at == moved) {
        return Ok(ignored);
    }
    let accounts = &sync.sources.accounts;
    let content = accounts.account_data(&user.user_id, None, "m.ignored_user_list").await?;
    let ignored = content.map(|content| parse_ignored(&user.user_id, &content));
    let ignored = Arc::new(ignored.unwrap_or_default());
    *user.ignored.lock() = Some((moved, Arc::clone(&ignored)));
    Ok(ignored)
}

/// What is not a list of users ignores nobody.
pub(crate) fn parse_ignored(user: &UserId, content: &RawValue) -> BTreeSet<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: BTreeMap<String, IgnoredAny>,
    }
    let content = serde_json::from_str::<Content>(content.get());
    let names = content.map(|content| content.ignored_users).unwrap_or_default();
    // Nothing may hide a user's own events from them.
    names
        .into_keys()
        .filter_map(|name| OwnedUserId::try_from(name).ok())
        .filter(|ignored| ignored != user)
        .collect()
}
