//! The one writer: takes all waiting batches, applies them as one durable write, answers them.
//!
//! It is a thread of its own because every flush blocks. While one flush is under way the next
//! group gathers, so durability costs latency and not throughput.

use std::{collections::HashMap, sync::Arc, thread::JoinHandle};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    ahead::AheadRow,
    batch::{Batch, Condition, exact},
    engine::{EngineError, Write},
    log::{Facts, HighWater, HighWaters, LoggedFact, Position, WRITER},
    record::Record,
    store::{CommitError, Shared},
    table::{Table, row_key},
};

/// Batches in one flush. Bounds the memory of a group, not the throughput.
const GROUP_BATCHES: usize = 1024;

pub(crate) struct Job {
    pub(crate) ticket: u64,
    /// Position of the batch's first fact.
    pub(crate) first: Position,
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Result<(), CommitError>>,
}

pub(crate) fn spawn(
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedReceiver<Job>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
        let ending = Ending(&shared);
        run(&shared, jobs);
        drop(ending);
    })
}

/// However the writer ends, by the store's closing, an error or a panic: whoever waits learns it.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
        }
        self.0.log.end();
    }
}

fn run(shared: &Shared, mut jobs: mpsc::UnboundedReceiver<Job>) {
    shared.disk.take_ballast();
    let mut waiting = Vec::with_capacity(GROUP_BATCHES);
    while jobs.blocking_recv_many(&mut waiting, GROUP_BATCHES) > 0 {
        let mut group = Group::default();
        if let Err(error) = group.write(shared, waiting.drain(..)) {
            fail(shared, &error, group, &mut jobs);
            return;
        }
    }
}

type Answer = oneshot::Sender<Result<(), CommitError>>;

/// A group under construction.
#[derive(Default)]
struct Group {
    writes: Vec<Write<'static>>,
    facts: Vec<LoggedFact>,
    ahead: Vec<AheadRow>,
    accepted: Vec<Answer>,
    refused: Vec<Answer>,
    last_ticket: u64,
    /// The last position that the group's batches were given, used or not.
    last_position: Position,
    /// Rows of this group by key, built only once a batch has a condition.
    overlay: Option<HashMap<(&'static str, Bytes), Option<Bytes>>>,
}

impl Group {
    fn write(
        &mut self,
        shared: &Shared,
        jobs: impl Iterator<Item = Job>,
    ) -> Result<(), EngineError> {
        for job in jobs {
            self.add(shared, job)?;
        }
        self.keep_high_water(shared.log.position());
        let batches = self.accepted.len() + self.refused.len();
        metrics::histogram!("meridian_store_group_batches").record(batches as f64);
        if !self.writes.is_empty() {
            shared.engine.apply(std::mem::take(&mut self.writes))?;
            metrics::counter!("meridian_store_flushes_total").increment(1);
        }
        shared.ahead.forget(&self.ahead);
        shared.log.publish(self.last_position, std::mem::take(&mut self.facts));
        shared.flushed.send_replace(self.last_ticket);
        // Whoever asked may have gone away; the batch is applied all the same.
        for answer in self.accepted.drain(..) {
            let _gone = answer.send(Ok(()));
        }
        for answer in self.refused.drain(..) {
            let _gone = answer.send(Err(CommitError::Condition));
        }
        Ok(())
    }

    fn add(&mut self, shared: &Shared, job: Job) -> Result<(), EngineError> {
        let Job { ticket, first, batch, answer } = job;
        self.last_ticket = ticket;
        self.last_position = first - 1 + batch.facts.len() as u64;
        let row = |write: &Write<'static>| AheadRow {
            ticket,
            table: write.table,
            key: write.key.clone(),
        };
        self.ahead.extend(batch.ahead().map(row));
        for condition in &batch.conditions {
            match self.holds(shared, condition) {
                Ok(true) => {}
                Ok(false) => {
                    self.refused.push(answer);
                    return Ok(());
                }
                Err(error) => {
                    self.accepted.push(answer);
                    return Err(error);
                }
            }
        }
        self.accepted.push(answer);
        for write in batch.writes {
            self.push(write);
        }
        for (position, fact) in (first..).zip(batch.facts) {
            let key = exact(row_key::<Facts>(WRITER, position));
            let value = Some(exact(fact.to_bytes()));
            self.push(Write { table: Facts::NAME, key, value });
            self.facts.push(LoggedFact { position, fact });
        }
        Ok(())
    }

    fn push(&mut self, write: Write<'static>) {
        if let Some(overlay) = &mut self.overlay {
            overlay.insert((write.table, write.key.clone()), write.value.clone());
        }
        self.writes.push(write);
    }

    /// Judged on the disk and on the earlier batches of this group.
    fn holds(&mut self, shared: &Shared, condition: &Condition) -> Result<bool, EngineError> {
        let overlay = self.overlay.get_or_insert_with(|| {
            let row =
                |write: &Write<'static>| ((write.table, write.key.clone()), write.value.clone());
            self.writes.iter().map(row).collect()
        });
        let found = match overlay.get(&(condition.table, condition.key.clone())) {
            Some(value) => value.clone(),
            None => shared.engine.get(condition.table, &condition.key)?,
        };
        Ok(found == condition.expected)
    }

    /// If the last positions were given to batches that are not applied, the log's tail does not
    /// show that they are used up, but tokens may.
    fn keep_high_water(&mut self, published: Position) {
        let logged = self.facts.last().map_or(published, |fact| fact.position);
        if self.last_position > logged {
            let key = exact(row_key::<HighWaters>(WRITER, ()));
            let row = HighWater { position: self.last_position };
            let value = Some(exact(row.to_bytes()));
            self.push(Write { table: HighWaters::NAME, key, value });
        }
    }
}

/// Nothing more is accepted, and everybody who waits is told.
fn fail(
    shared: &Shared,
    error: &EngineError,
    group: Group,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
) {
    tracing::error!(%error, "the storage engine failed; no further write is accepted");
    shared.fail(&error.to_string());
    jobs.close();
    let mut waiting: Vec<_> = group.accepted.into_iter().chain(group.refused).collect();
    while let Ok(job) = jobs.try_recv() {
        waiting.push(job.answer);
    }
    for answer in waiting {
        let _gone = answer.send(Err(CommitError::Failed(error.to_string())));
    }
}
