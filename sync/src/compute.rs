//! One answer: everything that changed for a user between a token and now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accounts::AccountDataEvent;
use devices::keys::KeyCounts;
use ruma::{
    DeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState,
};
use storage::Position;

use crate::{
    Filter, StateAfter, SyncError, Token,
    changes::{Membership, UserMark},
    device_lists::{self, DeviceLists, Moved},
    hub::Moment,
    json::{self, Events, Map, Object},
    lazy::ToldMembers,
    sections,
    service::Inner,
    unwanted::{self, Unwanted},
    v3,
};

/// What is asked.
pub(crate) struct Query<'a> {
    pub(crate) user: &'a UserMark,
    pub(crate) device: Option<&'a DeviceId>,
    /// `None` asks for everything.
    pub(crate) since: Option<Token>,
    pub(crate) filter: &'a Filter,
    pub(crate) full_state: bool,
    pub(crate) state_after: Option<StateAfter>,
}

pub(crate) struct Answer {
    /// To ask on from.
    pub(crate) token: Token,
    /// The body of a sync response.
    pub(crate) body: Vec<u8>,
    /// The body says nothing but the token.
    pub(crate) empty: bool,
    /// The newest event by somebody else of each room in which the user is.
    pub(crate) newest: Vec<(OwnedRoomId, OwnedEventId)>,
}

/// What the parts of an answer have in common.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    pub(crate) sync: &'a Inner,
    pub(crate) user: &'a UserId,
    pub(crate) device: Option<&'a DeviceId>,
    pub(crate) filter: &'a Filter,
    pub(crate) state_after: Option<StateAfter>,
    pub(crate) full_state: bool,
    pub(crate) since: Option<Token>,
    pub(crate) now: Moment,
    /// `now` as a token, for what is paginated from here.
    pub(crate) token: Token,
    /// Whether the volatile sequences of `since` are of this run of the process.
    pub(crate) same_boot: bool,
    pub(crate) unwanted: Arc<Unwanted>,
    /// Unless the request comes from no device.
    pub(crate) told: Option<ToldMembers>,
}

impl Scope<'_> {
    /// Positions after this one are news.
    pub(crate) fn after(&self) -> Position {
        self.since.map_or(0, |since| since.durable)
    }
}

/// A room about which there may be something to tell.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) membership: Membership,
}

/// The rooms of an answer, as they are put together.
#[derive(Default)]
pub(crate) struct RoomSections {
    pub(crate) join: Map,
    pub(crate) invite: Map,
    pub(crate) knock: Map,
    pub(crate) leave: Map,
    /// Users whose presence the client does not know yet: they, or the user, just joined.
    pub(crate) newly_met: BTreeSet<OwnedUserId>,
    /// The newest event by somebody else of each room in which the user is.
    pub(crate) newest: Vec<(OwnedRoomId, OwnedEventId)>,
}

/// What may have changed, found without reading the store.
struct Changed {
    now: Moment,
    rooms: Vec<Picked>,
    /// All rooms of the user, when account data changed and may name any of them.
    all: BTreeMap<OwnedRoomId, Membership>,
    account_data: bool,
    to_device: bool,
    presence: bool,
    device_lists: Moved,
    one_time_keys: bool,
}

impl Changed {
    fn is_nothing(&self) -> bool {
        self.rooms.is_empty()
            && !self.account_data
            && !self.to_device
            && !self.presence
            && !self.one_time_keys
            && self.device_lists.is_nothing()
    }
}

/// Computes an answer. Reads only what changed; what did not change costs no read.
pub(crate) async fn compute(sync: &Inner, query: &Query<'_>) -> Result<Answer, SyncError> {
    sync.hub.caught_up().await?;
    let same_boot = query.since.is_some_and(|since| since.boot == sync.boot);
    let changed = look(sync, query, same_boot).await?;
    let token = sync.token_at(changed.now, query.since);
    if query.since.is_some() && !query.full_state && changed.is_nothing() {
        let newest = Vec::new();
        let counts = sections::key_counts::load(sync, query.user, query.device).await?;
        let body = nothing(&token, counts.as_deref());
        return Ok(Answer { body, token, empty: true, newest });
    }
    let user_id = &query.user.user_id;
    let scope = Scope {
        sync,
        user: user_id,
        device: query.device,
        filter: query.filter,
        state_after: query.state_after,
        full_state: query.full_state,
        since: query.since,
        now: changed.now,
        token,
        same_boot,
        unwanted: unwanted::of(sync, query.user).await?,
        told: query.device.map(|device| sync.lazy.of(&(user_id.clone(), device.to_owned()))),
    };
    if let (None, Some(told)) = (scope.since, &scope.told) {
        told.clear();
    }
    fill(&scope, query, changed).await
}

async fn fill(
    scope: &Scope<'_>,
    query: &Query<'_>,
    mut changed: Changed,
) -> Result<Answer, SyncError> {
    let mut token = scope.token;
    let (account_data, by_room) = account_data(scope, &mut changed).await?;
    let rooms = rooms(scope, &changed, &by_room).await?;
    let mut to_device = Events::default();
    if changed.to_device || scope.since.is_none() {
        token.to_device = sections::to_device::write(scope, query.user, &mut to_device).await?;
    }
    let mut presence = Events::default();
    if changed.presence || scope.since.is_none() || !rooms.newly_met.is_empty() {
        let moved = changed.presence || scope.since.is_none();
        let upto = sections::presence::write(scope, moved, &rooms.newly_met, &mut presence).await?;
        token.presence = upto.unwrap_or(token.presence);
    }
    let keys = Keys {
        counts: sections::key_counts::load(scope.sync, query.user, query.device).await?,
        counts_moved: changed.one_time_keys,
        lists: device_lists(scope, query, &changed).await?,
    };
    Ok(assemble(token, &account_data, &presence, &to_device, rooms, &keys))
}

/// What a device is told of keys.
struct Keys {
    counts: Option<Arc<KeyCounts>>,
    counts_moved: bool,
    lists: DeviceLists,
}

/// "Only present on an incremental sync."
async fn device_lists(
    scope: &Scope<'_>,
    query: &Query<'_>,
    changed: &Changed,
) -> Result<DeviceLists, SyncError> {
    if scope.since.is_none() || changed.device_lists.is_nothing() {
        return Ok(DeviceLists::default());
    }
    let (after, now) = (scope.after(), scope.now.durable);
    device_lists::changes(scope.sync, query.user, &changed.device_lists, after, now).await
}

fn assemble(
    token: Token,
    account_data: &Events,
    presence: &Events,
    to_device: &Events,
    rooms: RoomSections,
    keys: &Keys,
) -> Answer {
    let RoomSections { join, invite, knock, leave, newest, .. } = rooms;
    let no_rooms = [&join, &invite, &knock, &leave].iter().all(|section| section.is_empty());
    let no_events = [account_data, presence, to_device].iter().all(|events| events.is_empty());
    let rooms_bytes = join.len() + invite.len() + knock.len() + leave.len();
    let bytes = rooms_bytes + account_data.len() + presence.len() + to_device.len();
    let mut body = Vec::with_capacity(bytes + 1024);
    let mut object = Object::open(&mut body);
    json::text(object.key("next_batch"), &token.to_string());
    account_data.write_unless_empty(&mut object, "account_data");
    presence.write_unless_empty(&mut object, "presence");
    to_device.write_unless_empty(&mut object, "to_device");
    if !keys.lists.is_empty() {
        keys.lists.write(&mut object);
    }
    if let Some(counts) = &keys.counts {
        sections::key_counts::write(counts, &mut object);
    }
    if !no_rooms {
        let mut sections = Object::open(object.key("rooms"));
        join.write_unless_empty(&mut sections, "join");
        invite.write_unless_empty(&mut sections, "invite");
        knock.write_unless_empty(&mut sections, "knock");
        leave.write_unless_empty(&mut sections, "leave");
        sections.close();
    }
    object.close();
    let no_keys = keys.lists.is_empty() && !keys.counts_moved;
    Answer { token, body, empty: no_rooms && no_events && no_keys, newest }
}

/// An answer that says nothing but where to go on.
fn nothing(token: &Token, counts: Option<&KeyCounts>) -> Vec<u8> {
    let mut body = Vec::with_capacity(192);
    let mut object = Object::open(&mut body);
    json::text(object.key("next_batch"), &token.to_string());
    if let Some(counts) = counts {
        sections::key_counts::write(counts, &mut object);
    }
    object.close();
    body
}

/// Compares marks with the token, at one moment.
async fn look(sync: &Inner, query: &Query<'_>, same_boot: bool) -> Result<Changed, SyncError> {
    loop {
        let (changed, ahead) = sync.hub.at_one_moment(|now| look_at(query, same_boot, now));
        // The rooms were read from the store while the log was still behind it.
        if ahead > changed.now.durable {
            sync.hub.reach(ahead).await?;
            continue;
        }
        return Ok(changed);
    }
}

fn look_at(query: &Query<'_>, same_boot: bool, now: Moment) -> (Changed, Position) {
    let (user, since) = (query.user, query.since);
    let account_data = since.is_none_or(|since| user.account_data.get() > since.durable);
    let mut changed = Changed {
        now,
        rooms: Vec::new(),
        all: BTreeMap::new(),
        account_data,
        to_device: since.is_none_or(|since| user.to_device.get() > since.to_device),
        presence: since.is_none_or(|since| !same_boot || user.presence.get() > since.presence),
        device_lists: match (since, query.device) {
            (Some(since), Some(_)) => device_lists::moved(user, since.durable),
            _ => Moved::default(),
        },
        one_time_keys: since.is_some_and(|since| user.one_time_keys.get() > since.durable),
    };
    let memberships = user.memberships.read();
    let mut ahead = 0;
    for (room_id, membership) in memberships.iter() {
        ahead = ahead.max(membership.position);
        let moved = match &since {
            None => is_in_initial(query, membership),
            Some(since) => has_moved(query, membership, since, same_boot),
        };
        if moved && query.filter.wants_room(room_id) {
            let (room_id, membership) = (room_id.clone(), membership.clone());
            changed.rooms.push(Picked { room_id, membership });
        }
    }
    if since.is_some() && account_data {
        changed.all.clone_from(&memberships);
    }
    (changed, ahead)
}

fn is_in_initial(query: &Query<'_>, membership: &Membership) -> bool {
    match membership.state {
        MembershipState::Leave | MembershipState::Ban => query.filter.include_leave,
        _ => true,
    }
}

fn has_moved(query: &Query<'_>, membership: &Membership, since: &Token, same_boot: bool) -> bool {
    if membership.position > since.durable {
        return true;
    }
    let Some(room) = &membership.room else { return false };
    let typing = room.typing.get();
    query.full_state
        || room.event.get() > since.durable
        || room.receipt.get() > since.durable
        || membership.own_receipt > since.durable
        || (if same_boot { typing > since.typing } else { typing > 0 })
        || !room.event_is_exact.load(std::sync::atomic::Ordering::Acquire)
}

type ByRoom = BTreeMap<OwnedRoomId, Vec<AccountDataEvent>>;

/// Global account data, and that of rooms, whose rooms become part of the answer.
async fn account_data(
    scope: &Scope<'_>,
    changed: &mut Changed,
) -> Result<(Events, ByRoom), SyncError> {
    let (mut global, mut by_room) = (Events::default(), ByRoom::new());
    if !changed.account_data {
        return Ok((global, by_room));
    }
    for event in sections::account_data::changes(scope).await? {
        match event.room_id.clone() {
            Some(room_id) => by_room.entry(room_id).or_default().push(event),
            None => sections::account_data::write_global(scope, &event, &mut global),
        }
    }
    let picked: BTreeSet<_> = changed.rooms.iter().map(|room| room.room_id.clone()).collect();
    for room_id in by_room.keys().filter(|room| !picked.contains(*room)) {
        let membership = changed.all.get(room_id);
        let joined = membership.filter(|room| room.state == MembershipState::Join);
        if let Some(membership) = joined.filter(|_| scope.filter.wants_room(room_id)) {
            let (room_id, membership) = (room_id.clone(), membership.clone());
            changed.rooms.push(Picked { room_id, membership });
        }
    }
    Ok((global, by_room))
}

async fn rooms(
    scope: &Scope<'_>,
    changed: &Changed,
    account_data: &ByRoom,
) -> Result<RoomSections, SyncError> {
    let mut sections = RoomSections::default();
    let count = changed.rooms.len();
    for (done, room) in changed.rooms.iter().enumerate() {
        sections.join.expect(count - done, count);
        let data = account_data.get(&room.room_id).map_or(&[][..], Vec::as_slice);
        match room.membership.state {
            MembershipState::Join => v3::join::write(scope, room, data, &mut sections).await?,
            MembershipState::Invite => v3::invite::invited(scope, room, &mut sections).await?,
            MembershipState::Knock => v3::invite::knocked(scope, room, &mut sections).await?,
            _ => v3::leave::write(scope, room, data, &mut sections).await?,
        }
    }
    Ok(sections)
}

impl Inner {
    /// The token of a moment, for a client whose last token was `since`.
    pub(crate) fn token_at(&self, now: Moment, since: Option<Token>) -> Token {
        // A sequence that was already told must not be gone back behind.
        let told = since.filter(|since| since.boot == self.boot);
        Token {
            incarnation: self.sources.store.incarnation(),
            durable: now.durable,
            to_device: now.durable,
            boot: self.boot,
            typing: now.typing,
            presence: told.map_or(now.presence, |told| told.presence.max(now.presence)),
        }
    }

    /// The token of a client. One from before the store was restored asks for everything again.
    pub(crate) fn since(&self, text: Option<&str>) -> Result<Option<Token>, SyncError> {
        let Some(text) = text else { return Ok(None) };
        let token = Token::parse(text)?;
        let store = &self.sources.store;
        if token.incarnation == store.incarnation() {
            let reached =
                token.durable <= store.log().position() && token.to_device <= token.durable;
            return if reached { Ok(Some(token)) } else { Err(SyncError::InvalidToken) };
        }
        // The store was restored from a backup that may lack what the token names: start over.
        if store.previous_incarnations().contains(&token.incarnation) {
            return Ok(None);
        }
        Err(SyncError::InvalidToken)
    }
}
