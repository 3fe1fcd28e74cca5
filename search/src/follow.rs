//! Follows the log of facts from a durable position.

use std::{sync::Arc, time::Duration};

use rooms::{RoomEventFact, StoredEvent, stream};
use ruma::{OwnedEventId, RoomId};
use storage::{Batch, LoggedFact};

use crate::{
    Error, Search,
    store::{Place, Posting, SearchStore},
    text, words,
};

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// Facts whose events are indexed in one batch.
const BATCH_FACTS: usize = 64;

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

/// The last batch, and what is before it.
fn split(facts: &[LoggedFact]) -> (&[LoggedFact], &[LoggedFact]) {
    let (before, last) = facts.split_at(facts.len().saturating_sub(BATCH_FACTS));
    (last, before)
}

impl Search {
    /// Keeps the index up to date until the store is closed. The log is kept for it from this call on.
    pub fn follow(self) -> impl Future<Output = ()> + Send {
        // The index is made of the log alone, so it begins where the log does.
        let mut log = self.inner.store.0.consume("search", 0);
        async move {
            while let Some(facts) = log.next().await {
                let (last, parts) = split(&facts);
                for part in parts.chunks(BATCH_FACTS) {
                    self.write(part).await;
                }
                let batch = self.insist(last).await;
                if !batch.is_empty() || !parts.is_empty() {
                    log.commit(batch).await;
                }
            }
        }
    }

    /// What follows from the facts.
    async fn insist(&self, facts: &[LoggedFact]) -> Batch {
        loop {
            match self.take(facts).await {
                Ok(batch) => return batch,
                Err(error) => tracing::error!(%error, "the search index cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A part of what follows from the facts that were read at once. It is written again if the
    /// process ends before the rest is.
    async fn write(&self, part: &[LoggedFact]) {
        loop {
            match self.inner.store.commit(self.insist(part).await).await {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, "the search index cannot be written"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is written is what the events say now, so the same facts again change nothing.
    async fn take(&self, facts: &[LoggedFact]) -> Result<Batch, Error> {
        let mut batch = Batch::new();
        for logged in facts {
            let event = match news(logged) {
                None => continue,
                Some(News::Redacted(target)) => {
                    self.take_out(&mut batch, &target).await?;
                    continue;
                }
                Some(News::Said(event_id)) => self.inner.rooms.event_by_id(&event_id).await?,
                Some(News::FilledIn) => self.filled_in(logged).await?,
            };
            if let Some(event) = event {
                index(&mut batch, &event);
            }
        }
        Ok(batch)
    }

    async fn filled_in(&self, logged: &LoggedFact) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Ok(room) = RoomId::parse(&*logged.fact.subject) else { return Ok(None) };
        Ok(self.inner.rooms.filled_in_at(&room, logged.position).await?)
    }

    async fn take_out(&self, batch: &mut Batch, target: &OwnedEventId) -> Result<(), Error> {
        if let Some(indexed) = self.inner.store.indexed(target).await? {
            SearchStore::take_out(batch, target, &indexed);
        }
        Ok(())
    }
}

/// An event that was redacted meanwhile, be it later in the same batch, has nothing left to be found
/// by.
fn index(batch: &mut Batch, event: &StoredEvent) {
    let Some(text) = text::of_event(event) else { return };
    let place = Place { time: event.pdu.origin_server_ts(), position: event.position };
    let posting = Posting { place, event_id: event.event_id().clone() };
    SearchStore::put(batch, event.pdu.room_id(), &posting, words::of_text(&text).into_keys());
}
