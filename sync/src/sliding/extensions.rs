//! What is told beside the rooms. An extension that a client does not enable costs nothing.

mod device;
mod profiles;
mod rooms;
pub(crate) mod threads;

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use storage::Position;

use super::{
    answer::{Ask, Context},
    lists::Selected,
    request::Reach,
    room::Before,
    snapshot::Snapshot,
    state::ProfileFields,
};
use crate::{
    SyncError, Token,
    json::{Events, Map, Object},
    sections::presence,
};

/// A room that the client looks at.
pub(crate) struct InScope<'a> {
    pub(crate) selected: &'a Selected<'a>,
    /// Up to where the client was told of it.
    pub(crate) before: Before,
    /// It moved while the client did not look.
    pub(crate) was_behind: bool,
    /// Events of its timeline in this answer.
    pub(crate) shown: Vec<OwnedEventId>,
}

impl InScope<'_> {
    /// Whether an extension applies to the room.
    fn is_reached(&self, reach: &Reach) -> bool {
        let by_list = |name: &&str| reach.lists.as_ref().is_none_or(|lists| lists.contains(*name));
        let room_id = self.selected.entry.room_id.as_str();
        let by_room = reach.rooms.as_ref().is_none_or(|rooms| rooms.contains(room_id));
        self.selected.lists.iter().any(by_list) || (self.selected.is_subscribed && by_room)
    }
}

/// What the rooms of the answer show.
pub(crate) struct Shown<'a> {
    pub(crate) in_scope: &'a [InScope<'a>],
    /// Users whom the client sees for the first time because the user came into a room.
    pub(crate) newly_met: &'a BTreeSet<OwnedUserId>,
    /// Member events that are in the answer because they are needed.
    pub(crate) lazy: &'a [(OwnedRoomId, OwnedUserId, OwnedEventId)],
}

pub(crate) struct Extended {
    pub(crate) written: Map,
    /// Nothing is worth an answer of its own.
    pub(crate) empty: bool,
    /// To ask on from.
    pub(crate) token: Token,
    /// Up to where the device was given its messages.
    pub(crate) to_device: Option<Position>,
    /// Which fields of profiles the client is told of from now on, if that is news.
    pub(crate) profiles: Option<ProfileFields>,
    /// Rooms of which the user's account data moved.
    pub(crate) account_data_moved: BTreeSet<OwnedRoomId>,
}

pub(crate) async fn write(
    context: &Context<'_>,
    ask: &Ask<'_>,
    snapshot: &Snapshot,
    shown: &Shown<'_>,
) -> Result<Extended, SyncError> {
    let in_scope = shown.in_scope;
    let asked = &ask.body.extensions;
    let mut extended = Extended {
        written: Map::default(),
        empty: true,
        token: context.base.token,
        to_device: None,
        profiles: None,
        account_data_moved: BTreeSet::new(),
    };
    if let Some(to_device) = &asked.to_device {
        device::to_device(context, ask, to_device, snapshot, &mut extended).await?;
    }
    if asked.e2ee {
        device::e2ee(context, ask, snapshot, &mut extended).await?;
    }
    if let Some(reach) = &asked.account_data {
        rooms::account_data(context, reach, snapshot, in_scope, &mut extended).await?;
    }
    if let Some(reach) = &asked.receipts {
        rooms::receipts(context, reach, in_scope, &mut extended).await?;
    }
    if let Some((key, reach)) = &asked.typing {
        rooms::typing(context, key, reach, in_scope, &mut extended);
    }
    if let Some(limit) = asked.thread_subscriptions {
        threads::write(context, limit, snapshot, &mut extended).await?;
    }
    profiles::write(context, ask, snapshot, shown, &mut extended).await?;
    match asked.presence {
        Some(key) => tell_presence(context, key, snapshot, shown.newly_met, &mut extended).await?,
        // Nothing was told, so whoever enables it later is told everything.
        None => extended.token.presence = 0,
    }
    Ok(extended)
}

/// No proposal describes it; the form is that of `/v3/sync`.
async fn tell_presence(
    context: &Context<'_>,
    key: &str,
    snapshot: &Snapshot,
    newly_met: &BTreeSet<OwnedUserId>,
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let base = context.base;
    let moved =
        base.since.is_none_or(|since| !base.same_boot || snapshot.presence > since.presence);
    if !moved && newly_met.is_empty() {
        return Ok(());
    }
    let mut events = Events::default();
    let up_to = presence::write(base, moved, newly_met, &mut events).await?;
    extended.token.presence = up_to.unwrap_or(extended.token.presence);
    if !events.is_empty() {
        let mut object = Object::open(extended.written.key(key));
        events.write_list(object.key("events"));
        object.close();
        extended.empty = false;
    }
    Ok(())
}
