//! One answer: what changed in the rooms that a client looks at, and in its extensions.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{DeviceId, EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use storage::Position;

use super::{
    Dialect,
    connections::Start,
    extensions::{self, InScope, Shown},
    facts::UserFacts,
    lists::{self, ListResult, Selected},
    pos::counted,
    request::SlidingBody,
    room::{Before, Room},
    snapshot::{self, Entry},
    state::{Changes, Sent},
};
use crate::{
    SyncError, Token,
    changes::UserMark,
    compute::Scope,
    json::{self, Events, Map, Object},
    lazy::{At, ToldMembers},
    service::Inner,
    unwanted,
};

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) user: &'a UserMark,
    pub(crate) device: &'a DeviceId,
    pub(crate) body: &'a SlidingBody,
    pub(crate) start: &'a Start,
    pub(crate) told: &'a ToldMembers,
}

/// What the parts of an answer have in common.
pub(crate) struct Context<'a> {
    pub(crate) sync: &'a Inner,
    pub(crate) dialect: Dialect,
    pub(crate) base: &'a Scope<'a>,
    told: &'a ToldMembers,
    /// Up to where the client has confirmed what it was told.
    confirmed: At,
}

impl Context<'_> {
    /// Whether the client has the member's event.
    pub(crate) fn has_member(&self, room: &RoomId, member: &UserId, event: &EventId) -> bool {
        self.told.has(room, member, event, self.confirmed)
    }

    /// Members of the room whom the client was told because they were needed, as far as that is
    /// known.
    pub(crate) fn told_members(&self, room: &RoomId) -> Vec<OwnedUserId> {
        self.told.members(room)
    }
}

pub(crate) struct Answer {
    pub(crate) token: Token,
    pub(crate) empty: bool,
    /// Of the connection's state.
    pub(crate) changes: Changes,
    /// What the lists count, by [`counted`].
    pub(crate) counted: u64,
    /// Up to where the device was given its messages, if it wants them.
    pub(crate) to_device: Option<Position>,
    /// The newest event by somebody else of each room in which the user is.
    pub(crate) newest: Vec<(OwnedRoomId, OwnedEventId)>,
    /// Member events that are in the answer because they are needed.
    pub(crate) lazy: Vec<(OwnedRoomId, OwnedUserId, OwnedEventId)>,
    lists: Map,
    rooms: Map,
    extensions: Map,
}

impl Answer {
    pub(crate) fn body(&self, pos: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(1024);
        let mut object = Object::open(&mut body);
        json::text(object.key("pos"), pos);
        self.lists.write(object.key("lists"));
        self.rooms.write(object.key("rooms"));
        self.extensions.write(object.key("extensions"));
        object.close();
        body
    }
}

/// An answer to a request that another one of its connection came after.
pub(crate) fn superseded(pos: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let mut object = Object::open(&mut body);
    json::text(object.key("pos"), pos);
    for key in ["lists", "rooms", "extensions"] {
        object.raw(key, b"{}");
    }
    object.close();
    body
}

pub(crate) async fn compute(sync: &Inner, ask: &Ask<'_>) -> Result<Answer, SyncError> {
    sync.hub.caught_up().await?;
    let since = ask.start.since;
    let mut snapshot = snapshot::take(sync, ask.user, since.as_ref()).await?;
    let base = Scope {
        sync,
        user: &ask.user.user_id,
        device: Some(ask.device),
        filter: &sync.sliding.filter,
        state_after: None,
        full_state: false,
        since,
        now: snapshot.now,
        token: sync.token_at(snapshot.now, since),
        same_boot: since.is_some_and(|since| since.boot == sync.boot),
        unwanted: unwanted::of(sync, ask.user).await?,
        told: None,
    };
    let with_tags = ask.body.lists.values().any(|list| list.filters.ask_for_tags());
    let facts = UserFacts::load(sync, ask.user, with_tags).await?;
    let state = &ask.start.state;
    let mut listed = std::mem::take(&mut snapshot.entries);
    let others = lists::visible(sync, &facts, &base.unwanted, state, ask.body, &mut listed).await?;
    let selection = lists::select(sync, &facts, ask.body, &listed, &others).await?;
    let context = Context {
        sync,
        dialect: ask.body.dialect,
        told: ask.told,
        confirmed: At {
            version: ask.start.version,
            durable: since.map_or(0, |since| since.durable),
        },
        base: &base,
    };
    let mut rooms = Rooms::new(&context, ask, &facts);
    for selected in &selection.rooms {
        rooms.add(selected).await?;
    }
    let shown = Shown { in_scope: &rooms.in_scope, newly_met: &rooms.newly_met, lazy: &rooms.lazy };
    let mut extended = extensions::write(&context, ask, &snapshot, &shown).await?;
    rooms.changes.profiles = extended.profiles.take();
    let entries = listed.iter().chain(&others);
    rooms.leave_behind(entries, &extended.account_data_moved);
    let counts = selection.lists.iter().map(|(name, list)| (*name, list.count));
    let counted = counted(counts);
    let lists_moved = ask.start.lists.is_some_and(|told| told != counted);
    Ok(Answer {
        token: extended.token,
        empty: rooms.written.is_empty() && extended.empty && !lists_moved,
        counted,
        to_device: extended.to_device,
        newest: rooms.newest,
        changes: rooms.changes,
        lazy: rooms.lazy,
        lists: write_lists(context.dialect, &selection.lists),
        rooms: rooms.written,
        extensions: extended.written,
    })
}

fn write_lists(dialect: Dialect, lists: &BTreeMap<&str, ListResult>) -> Map {
    let mut map = Map::default();
    for (name, list) in lists {
        let mut object = Object::open(map.key(name));
        json::number(object.key("count"), list.count as u64);
        if dialect == Dialect::Unstable {
            let mut ops = Events::default();
            for ((first, last), rooms) in &list.windows {
                let mut op = Object::open(ops.next());
                op.raw("op", b"\"SYNC\"");
                serde_json::to_writer(op.key("range"), &[first, last])
                    .expect("numbers are written");
                serde_json::to_writer(op.key("room_ids"), rooms).expect("ids are written");
                op.close();
            }
            ops.write_list(object.key("ops"));
        }
        object.close();
    }
    map
}

/// The rooms of an answer, as they are put together.
struct Rooms<'a> {
    context: &'a Context<'a>,
    ask: &'a Ask<'a>,
    facts: &'a UserFacts<'a>,
    written: Map,
    in_scope: Vec<InScope<'a>>,
    changes: Changes,
    newest: Vec<(OwnedRoomId, OwnedEventId)>,
    lazy: Vec<(OwnedRoomId, OwnedUserId, OwnedEventId)>,
    newly_met: BTreeSet<OwnedUserId>,
}

/// Presences told at once because the user came into a room.
const MAX_MET: usize = 1000;

impl<'a> Rooms<'a> {
    fn new(context: &'a Context<'a>, ask: &'a Ask<'a>, facts: &'a UserFacts<'a>) -> Self {
        Self {
            context,
            ask,
            facts,
            written: Map::default(),
            in_scope: Vec::new(),
            changes: Changes::default(),
            newest: Vec::new(),
            lazy: Vec::new(),
            newly_met: BTreeSet::new(),
        }
    }

    async fn add(&mut self, selected: &'a Selected<'a>) -> Result<(), SyncError> {
        let room_id = &selected.entry.room_id;
        let sent = self.ask.start.state.rooms.get(room_id);
        let is_dm = self.facts.is_dm(room_id);
        let room = Room { context: self.context, selected, sent, is_dm };
        let before = room.before();
        let told = room.tell().await?;
        if let Some(result) = told.result {
            let out = self.written.key(room_id.as_str());
            result.write(self.context.dialect, &selected.lists, out);
        }
        if told.is_arrival && self.ask.body.extensions.presence.is_some() {
            let rooms = &self.context.sync.sources.rooms;
            let users = rooms.joined_local_users(room_id).await?;
            self.newly_met.extend(users.iter().take(MAX_MET).cloned());
        }
        self.newest.extend(told.newest.map(|event| (room_id.clone(), event)));
        let lazy = told.lazy.into_iter();
        self.lazy.extend(lazy.map(|(user, event)| (room_id.clone(), user, event)));
        // Whatever was behind has been looked at, so nothing is.
        let after = told.sent.or_else(|| Some(Sent { behind: None, ..sent?.clone() }));
        if let Some(after) = after.filter(|after| Some(after) != sent) {
            self.changes.rooms.insert(room_id.clone(), Some(after));
        }
        let before = if told.is_initial { Before::Never } else { before };
        self.in_scope.push(InScope {
            selected,
            before,
            was_behind: sent.is_some_and(|sent| sent.behind.is_some()),
            shown: told.shown,
        });
        Ok(())
    }

    /// Rooms that the client was told and does not look at: if they moved, it is behind from where
    /// it was.
    fn leave_behind<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e Entry>,
        account_data_moved: &BTreeSet<OwnedRoomId>,
    ) {
        let Some(since) = self.ask.start.since else { return };
        let told = &self.ask.start.state.rooms;
        if told.is_empty() {
            return;
        }
        let looked_at: BTreeSet<&RoomId> =
            self.in_scope.iter().map(|room| &*room.selected.entry.room_id).collect();
        let mut there: BTreeSet<&RoomId> = BTreeSet::new();
        let same_boot = self.context.base.same_boot;
        for entry in entries {
            let room_id = &entry.room_id;
            let Some(sent) = told.get(room_id) else { continue };
            there.insert(room_id);
            let is_live = sent.behind.is_none() && !looked_at.contains(&**room_id);
            let moved = has_moved(entry, &since, same_boot) || account_data_moved.contains(room_id);
            if is_live && moved {
                let behind = Some(since.durable);
                let sent = Sent { behind, ..sent.clone() };
                self.changes.rooms.insert(room_id.clone(), Some(sent));
            }
        }
        for room_id in told.keys().filter(|room_id| !there.contains(&***room_id)) {
            self.changes.rooms.insert(room_id.clone(), None);
        }
    }
}

fn has_moved(entry: &Entry, since: &Token, same_boot: bool) -> bool {
    let membership = &entry.membership;
    let after = |position: Position| position > since.durable;
    after(membership.position)
        || after(membership.own_receipt)
        || membership.room.as_ref().is_some_and(|room| {
            let typing = room.typing.get();
            after(room.event.get())
                || after(room.receipt.get())
                || (if same_boot { typing > since.typing } else { typing > 0 })
        })
}
