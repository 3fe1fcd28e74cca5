//! Follows the log of facts from a durable position.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rooms::{RoomEventFact, StoredEvent, stream};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use storage::{Batch, LoggedFact, Position};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, Search,
    index::Tails,
    store::{Place, Said},
    text, words,
};

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// What is said within this time is written at once: each write costs a flush.
const GATHERING: Duration = Duration::from_millis(500);
/// Events that are gathered. Those of one read of the log can be more, which is bounded by itself.
const EVENTS_MAX: usize = 1000;
/// Positions of the log after which the place in it is written, whatever was said. Far fewer than
/// those after which a consumer of the log does so of itself, without regard to what is gathered.
const POSITIONS_MAX: u64 = 5000;

/// What a fact may change.
enum News {
    /// Something was said.
    Said(OwnedEventId),
    /// Something is not said any more.
    Redacted(OwnedEventId),
    /// A part of the room's past was filled in.
    FilledIn,
}

fn news(logged: &LoggedFact) -> Option<News> {
    match logged.fact.stream {
        stream::HISTORY => Some(News::FilledIn),
        stream::EVENT => {
            let fact = RoomEventFact::from_fact(&logged.fact)?;
            match fact.redacts {
                Some(target) => Some(News::Redacted(target)),
                None => text::is_searched(&fact.event_type).then_some(News::Said(fact.event_id)),
            }
        }
        _ => None,
    }
}

/// What is not written yet.
#[derive(Default)]
struct Gathered {
    put: BTreeMap<OwnedRoomId, BTreeMap<Place, String>>,
    taken_out: BTreeMap<OwnedRoomId, BTreeSet<Place>>,
    events: usize,
    /// The last fact that this follows from.
    last: Position,
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.events == 0
    }

    fn is_full(&self) -> bool {
        self.events >= EVENTS_MAX
    }

    /// An event that was redacted meanwhile has nothing left to be found by.
    fn add(&mut self, event: &StoredEvent) {
        let Some(text) = text::of_event(event) else { return };
        let words: Vec<String> = words::of_text(&text).into_keys().collect();
        if words.is_empty() {
            return;
        }
        let room = self.put.entry(event.pdu.room_id().to_owned()).or_default();
        room.insert(Place::of(event), words.join(" "));
        self.events += 1;
    }

    /// It may have been written before, or not yet.
    fn take_out(&mut self, room: OwnedRoomId, place: Place) {
        if let Some(put) = self.put.get_mut(&room) {
            put.remove(&place);
        }
        self.taken_out.entry(room).or_default().insert(place);
        self.events += 1;
    }
}

impl Search {
    /// Keeps the index up to date until the store is closed, a moment behind. The log is kept for it
    /// from this call on.
    pub fn follow(self) -> impl Future<Output = ()> + Send {
        // The index is made of the log alone, so it begins where the log does.
        let mut log = self.inner.store.0.consume("search", 0);
        async move {
            // Where it stands in the log at first is known by writing it.
            let mut written = None;
            let mut tails = Tails::default();
            let mut gathered = Gathered::default();
            while let Some(facts) = log.next().await {
                let until = Instant::now() + GATHERING;
                self.gather(&mut gathered, &facts).await;
                let is_near = |last| written.is_some_and(|at| last < at + POSITIONS_MAX);
                while !gathered.is_empty() && !gathered.is_full() && is_near(gathered.last) {
                    let Ok(more) = timeout_at(until, log.next()).await else { break };
                    let Some(more) = more else { return };
                    self.gather(&mut gathered, &more).await;
                }
                if !gathered.is_empty() || !is_near(gathered.last) {
                    log.commit(self.insist_on_batch(&mut tails, &gathered).await).await;
                    written = Some(gathered.last);
                    gathered = Gathered::default();
                }
            }
        }
    }

    async fn gather(&self, gathered: &mut Gathered, facts: &[LoggedFact]) {
        for logged in facts {
            while let Err(error) = self.take(gathered, logged).await {
                tracing::error!(%error, "the search index cannot be read");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// What is noted is what the events say now, so the same facts again change nothing.
    async fn take(&self, gathered: &mut Gathered, logged: &LoggedFact) -> Result<(), Error> {
        gathered.last = logged.position;
        let (rooms, news) = (&self.inner.rooms, news(logged));
        let Ok(room) = RoomId::parse(&*logged.fact.subject) else { return Ok(()) };
        let event = match news {
            None => return Ok(()),
            Some(News::Redacted(target)) => return self.take_out(gathered, room, &target).await,
            Some(News::Said(event_id)) => rooms.event_by_id(&event_id).await?,
            Some(News::FilledIn) => rooms.filled_in_at(&room, logged.position).await?,
        };
        if let Some(event) = event {
            gathered.add(&event);
        }
        Ok(())
    }

    async fn take_out(
        &self,
        gathered: &mut Gathered,
        room: OwnedRoomId,
        target: &EventId,
    ) -> Result<(), Error> {
        let event = self.inner.rooms.event_by_id(target).await?;
        let Some(event) = event.filter(|event| {
            event.pdu.room_id() == room && text::is_searched(event.pdu.event_type())
        }) else {
            return Ok(());
        };
        gathered.take_out(room, Place::of(&event));
        Ok(())
    }

    /// What is taken out is written before: what was put in may go into other segments with the rest.
    async fn batch(&self, tails: &mut Tails, gathered: &Gathered) -> Result<Batch, Error> {
        let store = &self.inner.store;
        let mut gone = Batch::new();
        for (room, places) in &gathered.taken_out {
            store.take_out_all(&mut gone, room, places).await?;
        }
        if !gone.is_empty() {
            store.commit(gone).await?;
        }
        let mut batch = Batch::new();
        for (room, said) in &gathered.put {
            let said =
                said.iter().map(|(place, words)| Said { place: *place, words: words.clone() });
            store.put(&mut batch, tails, room, said.collect()).await?;
        }
        Ok(batch)
    }

    async fn insist_on_batch(&self, tails: &mut Tails, gathered: &Gathered) -> Batch {
        loop {
            match self.batch(tails, gathered).await {
                Ok(batch) => return batch,
                Err(error) => tracing::error!(%error, "the search index cannot be read or written"),
            }
            // What was counted may not be written.
            *tails = Tails::default();
            tokio::time::sleep(PAUSE).await;
        }
    }
}
