//! How far each follower of the log is, and the pruning of what all of them are past.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Facts, HighWater, HighWaters, Position, WRITER};
use crate::{
    batch::Batch,
    record::{First, Versioned},
    store::{CommitError, ReadError, Store},
    table::Table,
};

/// Facts deleted in one batch by pruning: a step that other writers hardly notice.
const PRUNE_STEP: usize = 1000;
/// Positions that are kept although nobody asks for them, and positions that pile up before there is
/// something to prune again. A megabyte or two; few enough to be read at a start, and enough for a
/// follower that is about to begin at the position that it has just read.
pub(crate) const KEPT: u64 = 10_000;

/// Up to where the log was pruned.
struct Pruned;

#[derive(Debug, Serialize, Deserialize)]
struct PrunedRecord {
    position: Position,
}

impl Versioned for PrunedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Pruned {
    const NAME: &'static str = "log_pruned";
    type Partition = u32;
    type Sort = ();
    type Value = PrunedRecord;
}

/// Where the followers of one log are.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Mutex<Vec<Arc<Place>>>,
    pruned: AtomicU64,
    /// There may be something to prune.
    due: Notify,
}

#[derive(Debug)]
struct Place {
    /// Of one that outlives the process.
    name: Option<&'static str>,
    done: AtomicU64,
}

/// Keeps the facts after a position on disk, as long as it lives.
#[derive(Debug)]
pub(crate) struct Hold {
    places: Arc<Places>,
    place: Arc<Place>,
}

impl Places {
    pub(crate) fn hold(self: &Arc<Self>, name: Option<&'static str>, done: Position) -> Hold {
        let place = Arc::new(Place { name, done: AtomicU64::new(done) });
        self.all.lock().push(Arc::clone(&place));
        Hold { places: Arc::clone(self), place }
    }

    pub(crate) fn named(&self) -> Vec<(&'static str, Position)> {
        let all = self.all.lock();
        let named = all.iter().filter_map(|place| Some((place.name?, place.done())));
        named.collect()
    }

    /// The first position that somebody may need, of a log that ends at `end`.
    fn needed(&self, end: Position) -> Position {
        let slowest = self.all.lock().iter().map(|place| place.done()).min();
        slowest.unwrap_or(end).min(end).saturating_sub(KEPT) + 1
    }

    fn is_due(&self, end: Position) -> bool {
        self.needed(end) > self.pruned.load(Ordering::Relaxed) + KEPT
    }
}

impl Place {
    fn done(&self) -> Position {
        self.done.load(Ordering::Relaxed)
    }
}

impl Hold {
    /// Facts up to here are not needed any more.
    pub(crate) fn advance(&self, done: Position) {
        self.place.done.store(done, Ordering::Relaxed);
        if self.places.is_due(Position::MAX) {
            self.places.due.notify_one();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.places.all.lock().retain(|place| !Arc::ptr_eq(place, &self.place));
        self.places.due.notify_one();
    }
}

impl Store {
    /// Prunes the log whenever all who follow it have come on, until it is cancelled. To be run once
    /// whoever goes on from an earlier start holds the log: what others have not seen is not kept for
    /// them.
    pub async fn prune_followed(self) {
        loop {
            if let Err(error) = self.prune_passed().await {
                tracing::error!(%error, "the log cannot be pruned");
            }
            self.log().places.due.notified().await;
        }
    }

    /// Prunes what all are past, if that is enough to be worth it.
    pub(crate) async fn prune_passed(&self) -> Result<(), PruneError> {
        let (places, end) = (&self.log().places, self.log().position());
        if places.is_due(end) { self.prune_log(places.needed(end)).await } else { Ok(()) }
    }

    /// Deletes the facts before `below`, in steps. Whoever calls it knows that no consumer needs
    /// them. Works on a full disk too: it is a way out of there.
    pub async fn prune_log(&self, below: Position) -> Result<(), PruneError> {
        let up_to = below.saturating_sub(1).min(self.log().position());
        // What was pruned before is passed over slowly until the engine has compacted it.
        let mut pruned = self.pruned().await?;
        loop {
            let facts = self.facts(pruned, up_to, PRUNE_STEP).await?;
            let Some(last) = facts.last().map(|fact| fact.position) else { break };
            let mut batch = Batch::new();
            if last == self.log().position() {
                batch.put::<HighWaters>(WRITER, (), &HighWater { position: last });
            }
            batch.put::<Pruned>(WRITER, (), &PrunedRecord { position: last });
            for fact in &facts {
                batch.delete::<Facts>(WRITER, fact.position);
            }
            self.submit_unguarded(batch)?.await?;
            pruned = last;
        }
        self.log().places.pruned.fetch_max(up_to, Ordering::Relaxed);
        Ok(())
    }

    /// Up to where facts may be missing.
    pub(crate) async fn pruned(&self) -> Result<Position, ReadError> {
        let record = self.get::<Pruned>(WRITER, ()).await?;
        Ok(record.map_or(0, |record| record.position))
    }
}

/// The log could not be pruned to the end. What was deleted stays deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}
