//! `presence`: of those who share a room with the user.

use std::collections::{BTreeSet, HashSet};

use presence::UserPresence;
use ruma::{OwnedUserId, UserId, presence::PresenceState};

use crate::{
    SyncError,
    compute::Scope,
    hub::presence::Changed,
    json::{self, Events, Object},
};

/// Users looked at for an initial sync.
const MAX_USERS: usize = 20_000;
/// Users who changed that are looked up one by one; of more, whoever shares a room is found out first.
const FEW: usize = 16;
/// Users newly met who are told whether they are there or not; of the others in a large room it is
/// told only if they are.
const MAX_AWAY: usize = 20;

/// Writes what changed, or everything if the client knows nothing, and the presence of users newly
/// met. Returns the sequence up to which changes were asked for.
pub(crate) async fn write(
    scope: &Scope<'_>,
    moved: bool,
    newly_met: &BTreeSet<OwnedUserId>,
    events: &mut Events,
) -> Result<Option<u64>, SyncError> {
    if !scope.filter.presence.wants_type("m.presence") {
        return Ok(None);
    }
    let presence = &scope.sync.sources.presence;
    let (mut up_to, mut told) = (presence.sequence(), BTreeSet::new());
    if moved {
        let since = scope.since.filter(|_| scope.same_boot).map(|since| since.presence);
        let (after, now) = (since.unwrap_or_default(), scope.now.presence);
        let news = since.and_then(|_| scope.sync.hub.presence_news(scope.user, after, now));
        told = match (since, news) {
            (_, Some(news)) => {
                up_to = now.max(after);
                write_news(scope, &news, events)
            }
            (Some(after), None) => match presence.changed_since(after) {
                Ok(changed) => changes(scope, changed, events).await?,
                Err(presence::ChangeLogGap) => everybody(scope, events).await?,
            },
            (None, None) => everybody(scope, events).await?,
        };
    }
    let met = newly_met.iter().filter(|user| *user != scope.user && !told.contains(*user));
    for (count, user) in met.enumerate() {
        // Of some the client is told that they are away, rather than left to guess.
        if count < MAX_AWAY && shows(scope, user) {
            let known = presence.get_cached(user).unwrap_or_else(UserPresence::offline);
            write_one(scope, user, &known, events.next());
        } else {
            write_if_there(scope, user, events);
        }
    }
    Ok(moved.then_some(up_to))
}

/// Of users who shared a room with the user when they changed.
fn write_news(scope: &Scope<'_>, news: &[Changed], events: &mut Events) -> BTreeSet<OwnedUserId> {
    let mut told = BTreeSet::new();
    for (user, presence) in news.iter().map(|changed| &**changed) {
        if shows(scope, user) {
            write_one(scope, user, presence, events.next());
            told.insert(user.clone());
        }
    }
    told
}

/// The same for who was told less than is kept. Including those who went offline.
async fn changes(
    scope: &Scope<'_>,
    changed: Vec<(OwnedUserId, UserPresence)>,
    events: &mut Events,
) -> Result<BTreeSet<OwnedUserId>, SyncError> {
    let mut told = BTreeSet::new();
    let known = if changed.len() > FEW { acquainted(scope).await? } else { HashSet::new() };
    // All who share a room are known, unless there are too many of them.
    let knows_all = changed.len() > FEW && known.len() < MAX_USERS;
    let rooms = &scope.sync.sources.rooms;
    for (user, presence) in changed {
        if !shows(scope, &user) {
            continue;
        }
        let shares = user == scope.user
            || known.contains(&user)
            || (!knows_all && rooms.shares_room(scope.user, &user).await?);
        if shares {
            write_one(scope, &user, &presence, events.next());
            told.insert(user);
        }
    }
    Ok(told)
}

/// The user and those who share a room with them, if they are there.
async fn everybody(
    scope: &Scope<'_>,
    events: &mut Events,
) -> Result<BTreeSet<OwnedUserId>, SyncError> {
    let users: BTreeSet<_> = acquainted(scope).await?.into_iter().collect();
    for user in &users {
        write_if_there(scope, user, events);
    }
    Ok(users)
}

/// The user and those who share a room with them, of whom there may be more. The rooms are in memory;
/// asking the store of each user for their rooms would take as long as users are there.
async fn acquainted(scope: &Scope<'_>) -> Result<HashSet<OwnedUserId>, SyncError> {
    let rooms = &scope.sync.sources.rooms;
    // Most are in many of the rooms.
    let mut users = HashSet::from([scope.user.to_owned()]);
    for room_id in scope.sync.hub.joined_rooms(scope.user) {
        let Some(view) = rooms.room(&room_id).await? else { continue };
        let space = MAX_USERS.saturating_sub(users.len());
        if view.servers.len() > 1 {
            users.extend(rooms.joined_users(&room_id, space).await?);
            continue;
        }
        let new = view.local_joined.iter().filter(|user| !users.contains(*user)).take(space);
        let new: Vec<_> = new.cloned().collect();
        users.extend(new);
    }
    Ok(users)
}

fn shows(scope: &Scope<'_>, user: &UserId) -> bool {
    scope.filter.presence.wants_sender(user) && !scope.unwanted.users.contains(user)
}

fn write_if_there(scope: &Scope<'_>, user: &UserId, events: &mut Events) {
    let presence = scope.sync.sources.presence.get_cached(user);
    let there = presence.filter(|presence| presence.presence != PresenceState::Offline);
    if let Some(presence) = there.filter(|_| shows(scope, user)) {
        write_one(scope, user, &presence, events.next());
    }
}

fn write_one(scope: &Scope<'_>, user: &UserId, presence: &UserPresence, out: &mut Vec<u8>) {
    let mut event = Object::open(out);
    event.raw("type", b"\"m.presence\"");
    json::text(event.key("sender"), user.as_str());
    let mut content = Object::open(event.key("content"));
    json::text(content.key("presence"), presence.presence.as_str());
    if let Some(last_active) = presence.last_active_ts {
        let ago = scope.sync.clock.now_ms().saturating_sub(last_active);
        json::number(content.key("last_active_ago"), ago);
    }
    if let Some(status) = &presence.status_msg {
        json::text(content.key("status_msg"), status);
    }
    if presence.presence == PresenceState::Online {
        let active: &[u8] = if presence.currently_active { b"true" } else { b"false" };
        content.raw("currently_active", active);
    }
    content.close();
    event.close();
}
