//! `profiles`: what users look like who share rooms with the user ([MSC4262]).
//!
//! Those of this server only: others do not say when a profile changes.
//!
//! [MSC4262]: https://github.com/matrix-org/matrix-spec-proposals/pull/4262

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedUserId, UserId};
use serde_json::value::RawValue;

use super::{Extended, InScope, Shown};
use crate::{
    SyncError,
    device_lists::{self, Moved, Sight},
    json::{Map, Object},
    sliding::{
        answer::{Ask, Context},
        request::Profiles,
        room::Before,
        snapshot::Snapshot,
        state::ProfileFields,
    },
};

/// Profiles that one answer tells whole; "the homeserver MAY omit some".
const WHOLE_MAX: usize = 1000;
/// Changed profiles, of anybody, that are looked at for one answer. A client that was away for
/// longer than that asks for the profiles that it shows.
const CHANGED_MAX: usize = 5000;
const PAGE: usize = 500;

pub(super) async fn write(
    context: &Context<'_>,
    ask: &Ask<'_>,
    snapshot: &Snapshot,
    shown: &Shown<'_>,
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let told = &ask.start.state.profiles;
    let Some(asked) = &ask.body.extensions.profiles else {
        // What changes meanwhile is not told, so whoever asks again is told everything.
        extended.profiles = (*told != ProfileFields::None).then_some(ProfileFields::None);
        return Ok(());
    };
    let fields = asked.fields.clone().map_or(ProfileFields::All, ProfileFields::Some);
    // A connection without rooms has no state that could remember it.
    let has_rooms = !shown.in_scope.is_empty();
    let is_wider = context.base.since.is_none() || (has_rooms && !told.covers(&fields));
    let gone = gone(context, ask, snapshot).await?;
    let mut whole = whole(context, asked, shown, is_wider).await?;
    // Somebody who leaves is told of as a member.
    whole.retain(|user_id| !gone.contains(user_id));
    let mut users = Users { context, asked, written: Map::default() };
    for user_id in &whole {
        users.tell(user_id, None).await?;
    }
    if context.base.since.is_some_and(|since| snapshot.profiles > since.durable) {
        users.tell_changed(ask, snapshot, &whole).await?;
    }
    for user_id in &gone {
        users.written.key(user_id.as_str()).extend_from_slice(b"null");
    }
    if has_rooms && *told != fields {
        extended.profiles = Some(fields);
    }
    if !users.written.is_empty() {
        let mut object = Object::open(extended.written.key(asked.key));
        users.written.write(object.key("users"));
        object.close();
        extended.empty = false;
    }
    Ok(())
}

/// The local users whose profiles the client needs whole: of rooms that come into sight, and, where
/// members are loaded lazily, of those who are told.
async fn whole(
    context: &Context<'_>,
    asked: &Profiles,
    shown: &Shown<'_>,
    is_wider: bool,
) -> Result<BTreeSet<OwnedUserId>, SyncError> {
    let rooms = &context.sync.sources.rooms;
    let mut whole = BTreeSet::new();
    if is_wider {
        whole.insert(context.base.user.to_owned());
    }
    let reached =
        |room: &&InScope<'_>| room.selected.entry.is_joined() && room.is_reached(&asked.reach);
    for room in shown.in_scope.iter().filter(reached) {
        let room_id = &room.selected.entry.room_id;
        let is_new = is_wider || room.before == Before::Never;
        if room.selected.config.required.loads_members_lazily() {
            let needed = shown.lazy.iter().filter(|(id, ..)| id == room_id);
            whole.extend(needed.map(|(_, user_id, _)| user_id.clone()));
            if is_wider {
                whole.extend(context.told_members(room_id));
            }
        } else if is_new {
            whole.extend(rooms.joined_local_users(room_id).await?.iter().take(WHOLE_MAX).cloned());
        }
        if whole.len() > WHOLE_MAX {
            break;
        }
    }
    whole.retain(|user_id| user_id.server_name() == rooms.server_name());
    Ok(whole.into_iter().take(WHOLE_MAX).collect())
}

/// Whom the client may "stop tracking": local users who "left all shared rooms".
async fn gone(
    context: &Context<'_>,
    ask: &Ask<'_>,
    snapshot: &Snapshot,
) -> Result<BTreeSet<OwnedUserId>, SyncError> {
    let Context { sync, base, .. } = *context;
    if base.since.is_none() || snapshot.device_lists.rooms.is_empty() {
        return Ok(BTreeSet::new());
    }
    let moved = Moved { lists: false, rooms: snapshot.device_lists.rooms.clone() };
    let (after, now) = (base.after(), snapshot.now.durable);
    let mut gone = device_lists::changes(sync, ask.user, &moved, after, now).await?.left;
    gone.retain(|user_id| user_id.server_name() == sync.sources.rooms.server_name());
    Ok(gone)
}

struct Users<'a> {
    context: &'a Context<'a>,
    asked: &'a Profiles,
    written: Map,
}

impl Users<'_> {
    async fn tell_changed(
        &mut self,
        ask: &Ask<'_>,
        snapshot: &Snapshot,
        told: &BTreeSet<OwnedUserId>,
    ) -> Result<(), SyncError> {
        let sync = self.context.sync;
        let accounts = &sync.sources.accounts;
        let sight = Sight::of(sync, ask.user);
        let (mut after, now) = (self.context.base.after(), snapshot.now.durable);
        let since = after;
        for _ in 0..CHANGED_MAX / PAGE {
            let page = accounts.changed_profiles(after, now, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (_, user_id) in page {
                if !told.contains(&user_id) && sight.has(&user_id).await? {
                    let changed = accounts.changed_profile_fields(&user_id, since).await?;
                    self.tell(&user_id, changed).await?;
                }
            }
        }
        Ok(())
    }

    /// `changed`: the fields that are news; `None`: all.
    async fn tell(
        &mut self,
        user_id: &UserId,
        changed: Option<BTreeSet<String>>,
    ) -> Result<(), SyncError> {
        let profile = self.context.sync.sources.accounts.profile_fields(user_id).await?;
        let mut profile = profile.unwrap_or_default();
        let is_asked =
            |field: &String| self.asked.fields.as_ref().is_none_or(|fields| fields.contains(field));
        profile.retain(|field, _| is_asked(field));
        let mut removed = BTreeSet::new();
        if let Some(mut changed) = changed {
            changed.retain(is_asked);
            profile.retain(|field, _| changed.contains(field));
            changed.retain(|field| !profile.contains_key(field));
            removed = changed;
        }
        if !profile.is_empty() || !removed.is_empty() {
            write_user(&profile, &removed, self.written.key(user_id.as_str()));
        }
        Ok(())
    }
}

fn write_user(
    updated: &BTreeMap<String, Box<RawValue>>,
    removed: &BTreeSet<String>,
    out: &mut Vec<u8>,
) {
    let mut user = Object::open(out);
    if !updated.is_empty() {
        let mut fields = Object::open(user.key("updated"));
        for (field, value) in updated {
            fields.raw(field, value.get().as_bytes());
        }
        fields.close();
    }
    if !removed.is_empty() {
        serde_json::to_writer(user.key("removed"), removed).expect("names are written to memory");
    }
    user.close();
}
