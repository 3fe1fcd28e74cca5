//! Followers of the log that go on after a restart where they were.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Follower, LoggedFact, Position, WRITER, places::Hold};
use crate::{
    batch::Batch,
    record::{First, Versioned},
    store::{CommitError, Pending, ReadError, Store},
    table::Table,
};

/// After a failure of the store, which usually ends the process, or on a full disk.
const PAUSE: Duration = Duration::from_secs(1);
/// Positions after which a consumer's own is written although nothing followed from the facts, so
/// that a start does not read much again and the log need not be kept.
const CHECKPOINT: u64 = 10_000;

struct Consumers;

#[derive(Debug, Serialize, Deserialize)]
struct ConsumerRecord {
    /// Facts up to here are done with.
    position: Position,
}

impl Versioned for ConsumerRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Consumers {
    const NAME: &'static str = "log_consumers";
    type Partition = u32;
    /// The consumer's name.
    type Sort = String;
    type Value = ConsumerRecord;
}

/// Somebody whose rows follow from the log. What follows from some facts and that they are done with
/// is one batch, so that a crash neither loses nor repeats it. Facts that are not done with are not
/// pruned while there is a consumer, whether it asks for them or not.
#[derive(Debug)]
pub struct Consumer {
    name: &'static str,
    store: Store,
    first: Position,
    hold: Hold,
    follower: Option<Follower>,
    /// The last fact that was returned.
    returned: Position,
    written: Position,
}

impl Consumer {
    /// Waits for facts after those already returned, which are done with unless they are committed:
    /// then a crash may show them again. `None` once the store is closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Arc<[LoggedFact]>> {
        loop {
            match self.try_next().await {
                Ok(facts) => return facts,
                Err(error) => tracing::error!(%error, name = self.name, "the log cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_next(&mut self) -> Result<Option<Arc<[LoggedFact]>>, ReadError> {
        if self.follower.is_none() {
            let from = self.start().await?;
            (self.returned, self.written) = (from, from);
            self.follower = Some(Follower::new(self.store.clone(), from, None));
        }
        if self.returned >= self.written + CHECKPOINT {
            // On a full disk what nothing follows from is only read again.
            if let Err(error) = self.checkpoint().await {
                tracing::warn!(%error, name = self.name, "the place in the log is not written");
            }
        }
        let Some(follower) = &mut self.follower else { return Ok(None) };
        let facts = follower.next().await?;
        if let Some(last) = facts.as_ref().and_then(|facts| facts.last()) {
            self.returned = last.position;
        }
        Ok(facts)
    }

    async fn start(&self) -> Result<Position, ReadError> {
        let record = self.store.get::<Consumers>(WRITER, self.name).await?;
        let from = record.map_or(self.first, |record| record.position);
        let pruned = self.store.pruned().await?;
        if from < pruned {
            tracing::warn!(name = self.name, from, pruned, "it did not follow the log for long");
        }
        self.hold.advance(from);
        Ok(from)
    }

    /// Durable on return: the batch, and that the facts returned so far are done with. Waits for
    /// space on a full disk; does not return once the store has failed.
    pub async fn commit(&mut self, batch: Batch) {
        let mut batch = Some(self.with_place(batch));
        loop {
            // The batch is not taken while the disk is nearly full.
            let taken = self.store.submit_with(|_| Ok(batch.take().unwrap_or_default()));
            match wait(taken).await {
                Ok(()) => return self.wrote(),
                Err(CommitError::LowSpace) => {
                    tracing::error!(name = self.name, "what follows from the log waits for space");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error @ (CommitError::KeyTooLong(_) | CommitError::Condition)) => {
                    tracing::error!(%error, name = self.name, "nothing follows from some facts");
                    return;
                }
                Err(error @ CommitError::Failed(_)) => {
                    tracing::error!(%error, name = self.name, "the log is not followed any more");
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn checkpoint(&mut self) -> Result<(), CommitError> {
        let batch = self.with_place(Batch::new());
        wait(self.store.submit(batch)).await?;
        self.wrote();
        Ok(())
    }

    fn with_place(&self, mut batch: Batch) -> Batch {
        let record = ConsumerRecord { position: self.returned };
        batch.put::<Consumers>(WRITER, self.name, &record);
        batch
    }

    fn wrote(&mut self) {
        self.written = self.returned;
        self.hold.advance(self.written);
    }
}

async fn wait(taken: Result<Pending, CommitError>) -> Result<(), CommitError> {
    taken?.await.map(drop)
}

impl Store {
    /// Goes on where the consumer of this name was, or from just after `first` if there was none.
    /// From this call on the log is kept for it, and on disk before whatever is submitted after this
    /// call is that it began: nothing is missed if the process ends.
    pub fn consume(&self, name: &'static str, first: Position) -> Consumer {
        // Where it is, is not known yet.
        let hold = self.log().places.hold(Some(name), 0);
        let mut batch = Batch::new();
        batch.if_absent::<Consumers>(WRITER, name);
        batch.put::<Consumers>(WRITER, name, &ConsumerRecord { position: first });
        if let Err(error) = self.submit_unguarded(batch) {
            tracing::error!(%error, name, "where the log is followed from cannot be written");
        }
        let (returned, written, follower) = (first, first, None);
        Consumer { name, store: self.clone(), first, hold, follower, returned, written }
    }
}
