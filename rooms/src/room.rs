//! What is in memory of one room: the head for its one writer, and the views for its readers.
//!
//! A view is queued when its batch is submitted and shown once the log has reached it, so a reader
//! who was woken by a fact finds the room at least as new as the fact, and never newer than the
//! log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use events::{Pdu, RoomVersion};
use parking_lot::{Mutex, RwLock};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};
use storage::{Batch, Position, Range};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    Error, EventStatus, Root, StoredEvent,
    commit::Submitted,
    draft::Draft,
    rooms::Inner,
    store::{HeadRecord, Heads, Members},
};

/// Recent events of a room that are kept for its readers.
const TAIL_EVENTS: usize = 20;
/// Current state events kept for the rules. More than a room's active senders, mostly.
const CACHED_STATE: usize = 256;

/// A room at a position: what readers see. Never ahead of the log.
#[derive(Clone, Debug)]
pub struct RoomView {
    pub room_id: OwnedRoomId,
    pub version: &'static RoomVersion,
    /// Of the room's newest event.
    pub position: Position,
    /// The current state.
    pub state: Root,
    pub extremities: Vec<OwnedEventId>,
    /// The greatest depth of the extremities.
    pub depth: u64,
    pub create: Arc<Pdu>,
    pub joined_members: u64,
    pub invited_members: u64,
    /// Joined users of this server.
    pub local_joined: Arc<BTreeSet<OwnedUserId>>,
    /// Every server that has joined users, this one included, and how many.
    pub servers: Arc<Servers>,
}

/// Joined users by server.
pub type Servers = BTreeMap<OwnedServerName, u64>;

/// Where the next event of a room goes. Known to its writer only, and ahead of the log by what is
/// being flushed.
pub(crate) struct Head {
    pub(crate) view: RoomView,
    pub(crate) cached_state: StateCache,
}

/// By state key; `None` if there is known to be no event.
type ByKey = HashMap<Box<str>, Option<Arc<Pdu>>>;

/// Entries of the current state, those without an event included. Looked up without allocation.
#[derive(Default)]
pub(crate) struct StateCache {
    by_type: HashMap<Box<str>, ByKey>,
    entries: usize,
}

impl StateCache {
    pub(crate) fn get(&self, event_type: &str, state_key: &str) -> Option<Option<Arc<Pdu>>> {
        self.by_type.get(event_type)?.get(state_key).cloned()
    }

    /// Whether the event, in whatever form, is the current one of its kind.
    pub(crate) fn holds(&self, event: &Pdu) -> bool {
        let known = event.state_key().and_then(|key| self.get(event.event_type(), key)).flatten();
        known.is_some_and(|known| known.event_id() == event.event_id())
    }

    pub(crate) fn set(&mut self, event: &Arc<Pdu>) {
        if let Some(state_key) = event.state_key() {
            self.put(event.event_type(), state_key, Some(Arc::clone(event)));
        }
    }

    pub(crate) fn put(&mut self, event_type: &str, state_key: &str, event: Option<Arc<Pdu>>) {
        if self.entries >= CACHED_STATE {
            self.by_type.clear();
            self.entries = 0;
        }
        let by_key = self.by_type.entry(event_type.into()).or_default();
        if by_key.insert(state_key.into(), event).is_none() {
            self.entries += 1;
        }
    }
}

#[derive(Default)]
struct Views {
    current: Option<Arc<RoomView>>,
    /// Submitted, oldest first.
    pending: VecDeque<Arc<RoomView>>,
    /// The newest events, in the order of their positions: all of those after `tail_after`.
    tail: VecDeque<Arc<StoredEvent>>,
    tail_after: Position,
}

impl Views {
    fn advance(&mut self, durable: Position) {
        while self.pending.front().is_some_and(|view| view.position <= durable) {
            self.current = self.pending.pop_front();
        }
    }
}

pub(crate) struct Room {
    id: OwnedRoomId,
    writer: Arc<AsyncMutex<Option<Head>>>,
    views: Mutex<Views>,
    used: AtomicU64,
    /// Position of the newest event that relates to another, durable or not.
    related: AtomicU64,
    /// Position of the newest redaction.
    redacted: AtomicU64,
}

impl Room {
    pub(crate) fn new(id: OwnedRoomId) -> Self {
        Self {
            id,
            writer: Arc::default(),
            views: Mutex::default(),
            used: AtomicU64::new(0),
            related: AtomicU64::new(0),
            redacted: AtomicU64::new(0),
        }
    }

    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// The room at `durable`; `None` if it is not loaded.
    fn view(&self, durable: Position) -> Option<Arc<RoomView>> {
        let mut views = self.views.lock();
        views.advance(durable);
        views.current.clone()
    }

    /// Called while the batch is being submitted: before the log can reach its position.
    pub(crate) fn queue(&self, view: RoomView, events: &[Arc<StoredEvent>], durable: Position) {
        let mut views = self.views.lock();
        // A room that nobody reads must not keep a view of each of its events.
        views.advance(durable);
        views.pending.push_back(Arc::new(view));
        views.tail.extend(events.iter().cloned());
        while views.tail.len() > TAIL_EVENTS {
            if let Some(dropped) = views.tail.pop_front() {
                views.tail_after = dropped.position;
            }
        }
    }

    /// Called as [`Room::queue`] is, so that what was summarised before is known to be outdated.
    pub(crate) fn note_relations(&self, position: Position, related: bool, redacted: bool) {
        if related {
            self.related.fetch_max(position, Ordering::Relaxed);
        }
        if redacted {
            self.redacted.fetch_max(position, Ordering::Relaxed);
        }
    }

    /// Positions at or after the newest relation and the newest redaction.
    pub(crate) fn newest_relations(&self) -> (Position, Position) {
        (self.related.load(Ordering::Relaxed), self.redacted.load(Ordering::Relaxed))
    }

    /// Puts what a redaction left in the place of the event.
    pub(crate) fn replace(&self, event: &Arc<StoredEvent>) {
        let mut views = self.views.lock();
        if let Some(place) = views.tail.iter_mut().find(|other| other.position == event.position) {
            *place = Arc::clone(event);
        }
    }

    /// The events with `after < position <= up_to`, oldest first, if all of them are in memory.
    pub(crate) fn recent(&self, after: Position, up_to: Position) -> Option<Vec<Arc<StoredEvent>>> {
        let views = self.views.lock();
        if views.current.is_none() || after < views.tail_after {
            return None;
        }
        let start = views.tail.partition_point(|event| event.position <= after);
        let end = views.tail.partition_point(|event| event.position <= up_to);
        Some(views.tail.range(start..end.max(start)).cloned().collect())
    }

    /// The newest `limit` accepted events with `after < position <= up_to`, newest first, if as many
    /// are in memory.
    pub(crate) fn newest(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Option<Vec<Arc<StoredEvent>>> {
        let views = self.views.lock();
        views.current.as_ref()?;
        let newer = views.tail.iter().rev().skip_while(|event| event.position > up_to);
        let newer = newer.take_while(|event| event.position > after);
        let accepted = newer.filter(|event| event.status == EventStatus::Accepted);
        let newest: Vec<_> = accepted.take(limit).cloned().collect();
        (newest.len() == limit).then_some(newest)
    }

    fn load(&self, view: RoomView) {
        let mut views = self.views.lock();
        if views.current.is_none() {
            views.tail_after = view.position;
            // Unknown, so the worst is assumed.
            self.note_relations(view.position, true, true);
            views.current = Some(Arc::new(view));
        }
    }
}

/// The right to write to a room: there is one at a time.
pub(crate) struct Writer {
    pub(crate) room: Arc<Room>,
    head: OwnedMutexGuard<Option<Head>>,
}

impl Writer {
    pub(crate) fn head(&mut self) -> &mut Head {
        self.head.as_mut().expect("a writer is handed out with its head loaded")
    }

    pub(crate) fn view(&self) -> &RoomView {
        &self.head.as_ref().expect("a writer is handed out with its head loaded").view
    }
}

/// The rooms in memory.
#[derive(Default)]
pub(crate) struct RoomMap {
    rooms: RwLock<HashMap<OwnedRoomId, Arc<Room>>>,
    tick: AtomicU64,
    limit: usize,
}

impl RoomMap {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(16), ..Self::default() }
    }

    fn get(&self, id: &RoomId) -> Option<Arc<Room>> {
        let room = self.rooms.read().get(id).cloned()?;
        room.used.store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(room)
    }

    fn get_or_add(&self, id: &RoomId) -> Arc<Room> {
        if let Some(room) = self.get(id) {
            return room;
        }
        let mut rooms = self.rooms.write();
        if rooms.len() >= self.limit {
            evict(&mut rooms, self.limit);
        }
        let new = || Arc::new(Room::new(id.to_owned()));
        let room = Arc::clone(rooms.entry(id.to_owned()).or_insert_with(new));
        room.used.store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        room
    }
}

/// Drops the rooms that were not used for longest. One that somebody holds stays: a room must
/// never be in memory twice, or it would have two writers.
fn evict(rooms: &mut HashMap<OwnedRoomId, Arc<Room>>, limit: usize) {
    let mut used: Vec<_> = rooms.values().map(|room| room.used.load(Ordering::Relaxed)).collect();
    used.sort_unstable();
    let oldest_kept = used[limit / 4];
    rooms.retain(|_, room| {
        Arc::strong_count(room) > 1
            || Arc::strong_count(&room.writer) > 1
            || room.used.load(Ordering::Relaxed) >= oldest_kept
    });
}

impl Inner {
    /// The room as of the log's position.
    pub(crate) async fn view(&self, id: &RoomId) -> Result<Option<Arc<RoomView>>, Error> {
        Ok(self.loaded(id).await?.and_then(|room| room.view(self.store.log().position())))
    }

    /// The room, with a view loaded.
    pub(crate) async fn loaded(&self, id: &RoomId) -> Result<Option<Arc<Room>>, Error> {
        if let Some(room) = self.map.get(id)
            && room.view(self.store.log().position()).is_some()
        {
            return Ok(Some(room));
        }
        Ok(self.writer(id).await?.map(|writer| writer.room))
    }

    /// Waits for the room's writer. `None` if there is no such room.
    pub(crate) async fn writer(&self, id: &RoomId) -> Result<Option<Writer>, Error> {
        // Names that are no room's must not fill the map.
        if self.map.get(id).is_none() && self.store.get::<Heads>(id, ()).await?.is_none() {
            return Ok(None);
        }
        let room = self.map.get_or_add(id);
        let mut head = Arc::clone(&room.writer).lock_owned().await;
        if head.is_none() {
            match self.load_head(id).await? {
                Some(loaded) => {
                    room.load(loaded.view.clone());
                    *head = Some(loaded);
                }
                None => return Ok(None),
            }
        }
        Ok(Some(Writer { room, head }))
    }

    /// Makes a drafted room, and what `more` adds to its batch, real.
    pub(crate) async fn submit_new_room(
        &self,
        draft: Draft<'_>,
        more: impl FnOnce(&mut Batch),
    ) -> Result<Submitted, Error> {
        // In the map before anybody can hear of the room, so that it is never loaded twice.
        let room = self.map.get_or_add(draft.room_id());
        let mut place = Arc::clone(&room.writer).lock_owned().await;
        if place.is_some() || self.store.get::<Heads>(room.id(), ()).await?.is_some() {
            return Err(Error::Internal("the new room's id is another room's".to_owned()));
        }
        let outcome = draft.submit(&room, more)?;
        let head = Head { view: outcome.view.clone(), cached_state: StateCache::default() };
        Ok(place.insert(head).follow(outcome))
    }

    async fn load_head(&self, id: &RoomId) -> Result<Option<Head>, Error> {
        // The last batch of the room may be on its way to the disk.
        self.store.barrier().wait().await?;
        let Some(record) = self.store.get::<Heads>(id, ()).await? else { return Ok(None) };
        let version = RoomVersion::parse(&record.room_version).ok_or_else(|| {
            Error::Internal(format!("{id} has the unknown version {}", record.room_version))
        })?;
        let create = self.events.get_latest(&record.create).await?;
        let create = create.ok_or_else(|| Error::Internal(format!("{id} has no create event")))?;
        let joined = self.load_joined(id).await?;
        let view = RoomView {
            room_id: id.to_owned(),
            version,
            position: record.position,
            state: record.state,
            extremities: record.extremities,
            depth: record.depth,
            create: Arc::clone(&create.pdu),
            joined_members: record.joined_members,
            invited_members: record.invited_members,
            local_joined: Arc::new(
                joined.iter().filter(|user| self.is_local(user)).cloned().collect(),
            ),
            servers: Arc::new(count_servers(&joined)),
        };
        Ok(Some(Head { view, cached_state: StateCache::default() }))
    }

    /// Everybody who has, or had, a membership.
    pub(crate) async fn member_rows(
        &self,
        id: &RoomId,
    ) -> Result<Vec<(OwnedUserId, MembershipState)>, Error> {
        let rows = self.store.scan::<Members>(id, Range::all()).await?;
        let parsed = |row: storage::Row<Members>| {
            Some((UserId::parse(row.sort).ok()?, row.value.membership))
        };
        Ok(rows.into_iter().filter_map(parsed).collect())
    }

    async fn load_joined(&self, id: &RoomId) -> Result<Vec<OwnedUserId>, Error> {
        let rows = self.member_rows(id).await?;
        let joined =
            rows.into_iter().filter(|(_, membership)| *membership == MembershipState::Join);
        Ok(joined.map(|(user, _)| user).collect())
    }
}

fn count_servers(joined: &[OwnedUserId]) -> Servers {
    let mut servers = Servers::new();
    for user in joined {
        *servers.entry(user.server_name().to_owned()).or_default() += 1;
    }
    servers
}

impl RoomView {
    pub(crate) fn to_record(&self) -> HeadRecord {
        HeadRecord {
            room_version: self.version.as_str().to_owned(),
            create: self.create.event_id().clone(),
            extremities: self.extremities.clone(),
            depth: self.depth,
            position: self.position,
            state: self.state,
            joined_members: self.joined_members,
            invited_members: self.invited_members,
        }
    }
}
