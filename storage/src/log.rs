//! The ordered log of facts: what changed, in the order in which it became durable.
//!
//! Consumers (sync, federation, push, application services) follow it from a position of their own. A
//! fact is written in the batch that made it true, so a crash loses neither. It is no history: what
//! all who follow it are past is deleted.

mod consumer;
mod places;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use self::places::{Hold, Places};
use crate::{
    record::{First, Versioned},
    store::{ReadError, Store},
    table::{Range, Table},
};

pub(crate) use self::places::KEPT;
pub use self::{consumer::Consumer, places::PruneError};

/// A place in the order of one writer. Positions grow but may skip; 0 is before everything.
pub type Position = u64;

/// Batches of facts that a follower may lag behind before it re-reads the log from the store.
const FOLLOWER_BUFFER: usize = 4096;
/// Facts read from the store at a time by a follower that lagged.
const CATCH_UP_PAGE: usize = 1000;

/// Something that became true. The meaning of `stream` and `payload` belongs to the crate that
/// wrote it; `subject` is what it is about (a room id or a user id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Which kind of fact; each domain crate has constants of its own, unique in the process.
    pub stream: u8,
    pub subject: Arc<str>,
    pub payload: Bytes,
}

impl Versioned for Fact {
    const VERSION: u8 = 1;
    type Previous = First;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedFact {
    pub position: Position,
    pub fact: Fact,
}

/// The facts by writer and position. One machine is writer 0.
pub(crate) struct Facts;

impl Table for Facts {
    const NAME: &'static str = "log";
    type Partition = u32;
    type Sort = u64;
    type Value = Fact;
}

pub(crate) const WRITER: u32 = 0;

/// The highest position that a writer gave out, as far as the log's tail does not show it: because
/// the tail was pruned, or because the last batches did not meet their conditions. A position is
/// never used twice.
pub(crate) struct HighWaters;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HighWater {
    pub(crate) position: Position,
}

impl Versioned for HighWater {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for HighWaters {
    const NAME: &'static str = "log_high_water";
    type Partition = u32;
    type Sort = ();
    type Value = HighWater;
}

/// The tail of the log: the last durable position, and a channel of what follows it.
#[derive(Debug)]
pub struct Log {
    position: AtomicU64,
    /// `None` once nothing more will be written.
    tail: RwLock<Option<broadcast::Sender<Arc<[LoggedFact]>>>>,
    pub(crate) places: Arc<Places>,
}

impl Log {
    pub(crate) fn new(position: Position) -> Self {
        let tail = broadcast::Sender::new(FOLLOWER_BUFFER);
        let (position, tail) = (AtomicU64::new(position), RwLock::new(Some(tail)));
        Self { position, tail, places: Arc::default() }
    }

    /// Everything up to here is durable and may be shown.
    pub fn position(&self) -> Position {
        self.position.load(Ordering::Acquire)
    }

    /// Up to where each consumer is done with the facts. The log is kept for the slowest.
    pub fn consumers(&self) -> Vec<(&'static str, Position)> {
        self.places.named()
    }

    pub(crate) fn publish(&self, up_to: Position, facts: Vec<LoggedFact>) {
        self.position.store(up_to, Ordering::Release);
        if facts.is_empty() {
            return;
        }
        if let Some(tail) = &*self.tail.read() {
            // An error only says that nobody follows at the moment.
            let _nobody = tail.send(facts.into());
        }
    }

    /// Followers end after what was published so far.
    pub(crate) fn end(&self) {
        *self.tail.write() = None;
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[LoggedFact]>> {
        match &*self.tail.read() {
            Some(tail) => tail.subscribe(),
            None => broadcast::channel(1).1,
        }
    }
}

/// One that follows the log. Sees each fact after `from` once and in order, whatever its speed.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    next: broadcast::Receiver<Arc<[LoggedFact]>>,
    seen: Position,
    /// `None` if whoever reads through it holds the log.
    hold: Option<Hold>,
    /// Facts after `seen` may be on disk that the channel will not deliver.
    behind: bool,
}

impl Follower {
    fn new(store: Store, from: Position, hold: Option<Hold>) -> Self {
        // Subscribe first: what is published from now on is in the channel, the rest is on disk.
        let next = store.log().subscribe();
        Self { store, next, seen: from, hold, behind: true }
    }

    /// Waits for facts after those already returned. Never returns an empty list. Safe to cancel.
    /// `None` once the store is closed.
    ///
    /// Facts are not pruned before the call after the one that returned them.
    pub async fn next(&mut self) -> Result<Option<Arc<[LoggedFact]>>, ReadError> {
        if let Some(hold) = &self.hold {
            hold.advance(self.seen);
        }
        loop {
            if self.behind {
                if let Some(facts) = self.catch_up().await? {
                    return Ok(Some(facts));
                }
                continue;
            }
            match self.next.recv().await {
                Ok(facts) => {
                    if let Some(facts) = self.unseen(facts) {
                        return Ok(Some(facts));
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
            }
        }
    }

    async fn catch_up(&mut self) -> Result<Option<Arc<[LoggedFact]>>, ReadError> {
        let up_to = self.store.log().position();
        let facts = self.store.facts(self.seen, up_to, CATCH_UP_PAGE).await?;
        if let Some(last) = facts.last() {
            self.seen = last.position;
            return Ok(Some(facts.into()));
        }
        // Positions may skip: nothing lies between `seen` and `up_to`, and the channel was
        // subscribed before `up_to` was read.
        self.seen = self.seen.max(up_to);
        self.behind = false;
        Ok(None)
    }

    /// Drops what a catch-up read has already returned.
    fn unseen(&mut self, facts: Arc<[LoggedFact]>) -> Option<Arc<[LoggedFact]>> {
        let first_new = facts.partition_point(|fact| fact.position <= self.seen);
        self.seen = facts.last().filter(|_| first_new < facts.len())?.position;
        Some(if first_new == 0 { facts } else { facts[first_new..].into() })
    }
}

impl Store {
    /// Facts after `after`, up to and including `up_to`, oldest first, at most `limit`.
    pub async fn facts(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<LoggedFact>, ReadError> {
        let range = Range::after(after).up_to(up_to).limit(limit);
        let rows = self.scan::<Facts>(WRITER, range).await?;
        Ok(rows.into_iter().map(|row| LoggedFact { position: row.sort, fact: row.value }).collect())
    }

    /// Follows the log from just after `from`.
    pub fn follow(&self, from: Position) -> Follower {
        Follower::new(self.clone(), from, Some(self.log().places.hold(None, from)))
    }
}
