//! The events of a room in order: of delivery for sync, topological for those who scroll.

mod place;
mod time;
mod walk;
mod wanted;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ruma::{
    EventId, OwnedEventId, RoomId, UserId,
    api::{Direction, client::filter::RoomEventFilter},
};
use storage::{Position, Range};
use tokio::time::Instant;

pub(crate) use self::place::Place;
pub use self::wanted::RelTypes;
use self::{
    time::TimeWalk,
    walk::{Walk, Walked},
    wanted::Wanted,
};
use crate::{
    Error, EventStatus, Rooms, StoredEvent,
    remote::Filled,
    rooms::Inner,
    store::{Events, UserRooms},
    stored_event::HISTORIC,
};

/// Times that a reader has history fetched for one page.
const FILLS_MAX: usize = 5;
/// What a reader waits for history at most.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub struct MessagesQuery<'a> {
    /// A token of [`Page`], [`Context`] or sync; unset: the end of the room in that direction.
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub dir: Direction,
    pub limit: usize,
    pub filter: &'a RoomEventFilter,
}

#[derive(Clone, Debug)]
pub struct Page {
    pub start: String,
    /// Unset at the end of the history.
    pub end: Option<String>,
    pub chunk: Vec<Arc<StoredEvent>>,
    /// Member events of the senders, when members are loaded lazily.
    pub state: Vec<Arc<StoredEvent>>,
}

#[derive(Clone, Debug)]
pub struct Context {
    pub event: Arc<StoredEvent>,
    /// Newest first.
    pub before: Vec<Arc<StoredEvent>>,
    pub after: Vec<Arc<StoredEvent>>,
    pub state: Vec<Arc<StoredEvent>>,
    pub start: String,
    pub end: String,
}

/// What surrounds an event.
#[derive(Clone, Debug)]
pub struct Around {
    /// Newest first.
    pub before: Vec<Arc<StoredEvent>>,
    pub after: Vec<Arc<StoredEvent>>,
    pub start: String,
    pub end: String,
}

impl Rooms {
    /// Accepted events with `after < position <= up_to` in the order of delivery, or the newest of
    /// them first. Not filtered for a viewer: see [`Rooms::visible`].
    pub async fn timeline(
        &self,
        room: &RoomId,
        after: Position,
        up_to: Position,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let up_to = up_to.min(self.inner.store.log().position());
        if after >= up_to || limit == 0 {
            return Ok(Vec::new());
        }
        let loaded = self.inner.loaded(room).await?;
        if newest_first
            && let Some(newest) = loaded.as_ref().and_then(|room| room.newest(after, up_to, limit))
        {
            return Ok(newest);
        }
        let Some(mut events) = loaded.and_then(|room| room.recent(after, up_to)) else {
            return self.inner.stored_timeline(room, after, up_to, limit, newest_first).await;
        };
        events.retain(|event| event.status == EventStatus::Accepted);
        if newest_first {
            events.reverse();
        }
        events.truncate(limit);
        Ok(events)
    }

    /// The token of the place just before the event, from which `/messages` goes back.
    pub fn token_before(&self, event: &StoredEvent) -> String {
        Place::before(event).to_string()
    }

    /// An event that the viewer may see.
    pub async fn event(
        &self,
        viewer: &UserId,
        room: &RoomId,
        event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        const NOT_FOUND: Error = Error::NotFound("the event");
        match self.visible_state(viewer, room).await {
            // "The event was not found or you do not have permission to read this event."
            Err(Error::NotJoined) => return Err(NOT_FOUND),
            other => drop(other?),
        }
        let event = self.event_by_id(event_id).await?.filter(|event| event.pdu.room_id() == room);
        let visible = self.visible(viewer, room, event.as_slice()).await?;
        visible.into_iter().next().ok_or(NOT_FOUND)
    }

    /// A page of the history, in topological order.
    pub async fn messages(
        &self,
        viewer: &UserId,
        room: &RoomId,
        query: MessagesQuery<'_>,
    ) -> Result<Page, Error> {
        self.messages_related(viewer, room, query, &RelTypes::default()).await
    }

    /// As [`messages`](Self::messages), of those with such relations.
    pub async fn messages_related(
        &self,
        viewer: &UserId,
        room: &RoomId,
        query: MessagesQuery<'_>,
        relations: &RelTypes,
    ) -> Result<Page, Error> {
        let inner = &*self.inner;
        let reach = self.reach(viewer, room).await?;
        let from = match query.from {
            Some(token) => inner.place(room, token).await?,
            None => self.end_of_room(room, query.dir).await?,
        };
        let to = match query.to {
            Some(token) => Some(inner.place(room, token).await?),
            None => None,
        };
        let wanted = Wanted::new(query.filter, room).with_relations(relations);
        let limit = query.limit.max(1);
        let walked = match query.dir {
            Direction::Backward => {
                let (from, to) = (from.min(reach), to.unwrap_or(Place::START));
                self.walk_back(viewer, room, &wanted, (from, to), limit).await?
            }
            Direction::Forward => {
                let walk = Walk::on(from, to.unwrap_or(Place::END).min(reach));
                walk.run(self, viewer, room, &wanted, limit).await?
            }
        };
        // Deployed clients go on from `end` when there is something new, and SyTest expects it on
        // the page that reaches the start too, so only an empty page is the end; Synapse does the
        // same.
        let end = (walked.more || !walked.chunk.is_empty()).then_some(walked.at);
        let state = if wanted.loads_members_lazily() {
            self.members_of_senders(&walked.chunk).await?
        } else {
            Vec::new()
        };
        Ok(Page {
            start: query.from.map_or_else(|| from.to_string(), str::to_owned),
            end: end.map(|place| place.to_string()),
            chunk: walked.chunk,
            state,
        })
    }

    /// An event, what surrounds it, and the state at the last of the events returned.
    pub async fn context(
        &self,
        viewer: &UserId,
        room: &RoomId,
        event_id: &EventId,
        limit: usize,
        filter: &RoomEventFilter,
    ) -> Result<Context, Error> {
        // First: who may not see the room is told that, not that the event is missing.
        let reach = self.reach(viewer, room).await?;
        let event = self.event(viewer, room, event_id).await?;
        let wanted = Wanted::new(filter, room);
        let back = (Place::before(&event), Place::START);
        let before = self.walk_back(viewer, room, &wanted, back, limit / 2).await?;
        let after = Walk::on(Place::after(&event), reach)
            .run(self, viewer, room, &wanted, limit - limit / 2)
            .await?;
        let last = after.chunk.last().unwrap_or(&event);
        let state = self.state_after(last).await?;
        let around = before.chunk.iter().chain(&after.chunk).chain([&event]);
        let senders: BTreeSet<&str> = around.map(|event| event.pdu.sender().as_str()).collect();
        let mut entries = self.inner.trie.entries(state).await?;
        if wanted.loads_members_lazily() {
            entries.retain(|entry| {
                entry.event_type != "m.room.member" || senders.contains(&*entry.state_key)
            });
        }
        let mut state = self.inner.events_of(entries).await?;
        state.retain(|event| wanted.wants(event));
        let (start, end) = (before.at.to_string(), after.at.to_string());
        Ok(Context { before: before.chunk, after: after.chunk, state, start, end, event })
    }

    /// What surrounds an event that the viewer may see, as far as it is here: nothing is fetched.
    /// At most `before` and `after` events.
    pub async fn around(
        &self,
        viewer: &UserId,
        event: &StoredEvent,
        (before, after): (usize, usize),
    ) -> Result<Around, Error> {
        let room = event.pdu.room_id();
        let reach = self.reach(viewer, room).await?;
        let filter = RoomEventFilter::default();
        let wanted = Wanted::new(&filter, room);
        let back = Walk::back(Place::before(event), Place::START);
        let earlier = back.run(self, viewer, room, &wanted, before).await?;
        let on = Walk::on(Place::after(event), reach);
        let later = on.run(self, viewer, room, &wanted, after).await?;
        Ok(Around {
            start: earlier.at.to_string(),
            end: later.at.to_string(),
            before: earlier.chunk,
            after: later.chunk,
        })
    }

    /// Whether a filter lets the event through.
    pub fn is_wanted(&self, filter: &RoomEventFilter, event: &StoredEvent) -> bool {
        Wanted::new(filter, event.pdu.room_id()).wants(event)
    }

    /// The event of the room at that position of its own ([`StoredEvent::position`]).
    pub async fn event_at(
        &self,
        room: &RoomId,
        position: Position,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let events = self.inner.events_at(room, vec![position]).await?;
        Ok(events.into_iter().next())
    }

    /// The event that found its place in the history with the fact ([`stream::HISTORY`]) at that
    /// position of the log.
    ///
    /// [`stream::HISTORY`]: crate::stream::HISTORY
    pub async fn filled_in_at(
        &self,
        room: &RoomId,
        position: Position,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        self.event_at(room, position | HISTORIC).await
    }

    /// The event closest to `ts` (milliseconds) in that direction, and its time.
    pub async fn timestamp_to_event(
        &self,
        viewer: &UserId,
        room: &RoomId,
        ts: u64,
        dir: Direction,
    ) -> Result<(OwnedEventId, u64), Error> {
        self.visible_state(viewer, room).await?;
        let mut walk = TimeWalk::new(ts, dir);
        let mut found = None;
        while found.is_none() {
            let Some(events) = walk.next(&self.inner, room).await? else { break };
            found = self.visible(viewer, room, &events).await?.into_iter().next();
        }
        let known = found.as_ref().map(|event| event.pdu.origin_server_ts());
        let closer = self.inner.closer_in_time(room, ts, dir, known).await?;
        if let Some(closer) = closer {
            found = self.visible(viewer, room, &[closer]).await?.into_iter().next().or(found);
        }
        let event = found.ok_or(Error::NotFound("an event near that time"))?;
        Ok((event.event_id().clone(), event.pdu.origin_server_ts()))
    }

    /// Walks back, and fetches what is missing on the way from other servers.
    async fn walk_back(
        &self,
        viewer: &UserId,
        room: &RoomId,
        wanted: &Wanted<'_>,
        (from, to): (Place, Place),
        limit: usize,
    ) -> Result<Walked, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut fills = 0;
        loop {
            let mut walked = Walk::back(from, to).run(self, viewer, room, wanted, limit).await?;
            let end = if walked.more { walked.at.depth } else { to.depth };
            let is_last = fills == FILLS_MAX || Instant::now() >= deadline;
            if is_last {
                // The next page goes on with it.
                walked.more = true;
                return Ok(walked);
            }
            if self.inner.fill_history(room, end..=from.depth, deadline).await? == Filled::Nothing {
                return Ok(walked);
            }
            fills += 1;
        }
    }

    /// How far the viewer may read on: those who left see nothing that came after, unless
    /// everybody does.
    async fn reach(&self, viewer: &UserId, room: &RoomId) -> Result<Place, Error> {
        self.visible_state(viewer, room).await?;
        let row = self.inner.store.get::<UserRooms>(viewer, room).await?;
        let Some(seen) = row.and_then(|row| row.seen) else { return Ok(Place::END) };
        let view = self.inner.view(room).await?.ok_or(Error::NotJoined)?;
        if self.is_world_readable(view.state).await? {
            return Ok(Place::END);
        }
        let last = self.inner.events_at(room, vec![seen.position]).await?;
        Ok(last.first().map_or(Place::END, |event| Place::after(event)))
    }

    async fn end_of_room(&self, room: &RoomId, dir: Direction) -> Result<Place, Error> {
        match dir {
            Direction::Forward => Ok(Place::START),
            Direction::Backward => {
                let view = self.inner.view(room).await?.ok_or(Error::NotJoined)?;
                Ok(Place { depth: view.depth, position: view.position })
            }
        }
    }

    /// The member events of those who sent the events, as of the newest of these: it is what a
    /// client shows for a sender of whom it knows nothing.
    async fn members_of_senders(
        &self,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let Some(newest) = events.iter().max_by_key(|event| Place::after(event)) else {
            return Ok(Vec::new());
        };
        let root = self.state_after(newest).await?;
        let senders: BTreeSet<&UserId> = events.iter().map(|event| event.pdu.sender()).collect();
        let mut members = Vec::with_capacity(senders.len());
        for sender in senders {
            members.extend(self.state_get(root, "m.room.member", sender.as_str()).await?);
        }
        Ok(members)
    }
}

impl Inner {
    async fn stored_timeline(
        &self,
        room: &RoomId,
        after: Position,
        up_to: Position,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut events = Vec::new();
        let (mut after, mut up_to) = (after, up_to);
        while events.len() < limit && after < up_to {
            let missing = limit - events.len();
            let range = Range::after(after).up_to(up_to).limit(missing);
            let range = if newest_first { range.reversed() } else { range };
            let rows = self.store.scan::<Events>(room, range).await?;
            let (read, last) = (rows.len(), rows.last().map_or(0, |row| row.sort));
            for row in rows {
                let event = self.events.of_row(row.sort, row.value)?;
                if event.status == EventStatus::Accepted {
                    events.push(event);
                }
            }
            if read < missing {
                break;
            }
            if newest_first {
                up_to = last - 1;
            } else {
                after = last;
            }
        }
        Ok(events)
    }

    /// The events with these positions, in the order given.
    pub(crate) async fn events_at(
        &self,
        room: &RoomId,
        positions: Vec<Position>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else {
            return Ok(Vec::new());
        };
        // The topological order is mostly that of the positions: one scan finds them all then.
        let range = Range::from(*first).up_to(*last).limit(positions.len());
        let mut found: std::collections::HashMap<_, _> = self
            .store
            .scan::<Events>(room, range)
            .await?
            .into_iter()
            .map(|row| (row.sort, row.value))
            .collect();
        let mut events = Vec::with_capacity(positions.len());
        for position in positions {
            let record = match found.remove(&position) {
                Some(record) => Some(record),
                None => self.store.get::<Events>(room, position).await?,
            };
            if let Some(record) = record {
                events.push(self.events.of_row(position, record)?);
            }
        }
        Ok(events)
    }
}
