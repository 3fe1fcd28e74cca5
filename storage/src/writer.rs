//! The one writer: takes all waiting batches, applies them as one durable write, answers them.
//!
//! It is a thread of its own because every flush blocks. While one flush is under way the next
//! group gathers, so durability costs latency and not throughput.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    batch::{Batch, Condition},
    engine::{EngineError, Write},
    log::{Facts, LoggedFact, Position, WRITER},
    record::Record,
    store::{CommitError, Shared},
    table::Table,
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
    std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || run(&shared, jobs))
}

fn run(shared: &Shared, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_BATCHES);
    while jobs.blocking_recv_many(&mut group, GROUP_BATCHES) > 0 {
        let outcome = write_group(shared, group.drain(..));
        if let Err(error) = outcome {
            fail(shared, &error, &mut jobs);
            return;
        }
    }
}

/// A group under construction.
#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    facts: Vec<LoggedFact>,
    ahead: Vec<(u64, (&'static str, Vec<u8>))>,
    answers: Vec<(oneshot::Sender<Result<(), CommitError>>, Result<(), CommitError>)>,
    last_ticket: u64,
    last_position: Position,
    /// Rows of this group by key, built only once a batch has a condition.
    overlay: Option<HashMap<(&'static str, Vec<u8>), Option<Vec<u8>>>>,
}

impl Group {
    fn add(&mut self, shared: &Shared, job: Job) -> Result<(), EngineError> {
        let Job { ticket, first, batch, answer } = job;
        self.last_ticket = ticket;
        self.last_position = first - 1 + batch.facts.len() as u64;
        for (write, ahead) in &batch.writes {
            if *ahead {
                self.ahead.push((ticket, (write.table, write.key.clone())));
            }
        }
        for condition in &batch.conditions {
            if !self.holds(shared, condition)? {
                self.answers.push((answer, Err(CommitError::Condition)));
                return Ok(());
            }
        }
        for (write, _) in batch.writes {
            self.push(write);
        }
        for (offset, fact) in batch.facts.into_iter().enumerate() {
            let position = first + offset as u64;
            self.push(Write {
                table: Facts::NAME,
                key: [WRITER.to_be_bytes().as_slice(), &position.to_be_bytes()].concat(),
                value: Some(fact.to_bytes()),
            });
            self.facts.push(LoggedFact { position, fact });
        }
        self.answers.push((answer, Ok(())));
        Ok(())
    }

    fn push(&mut self, write: Write) {
        if let Some(overlay) = &mut self.overlay {
            overlay.insert((write.table, write.key.clone()), write.value.clone());
        }
        self.writes.push(write);
    }

    /// Judged on the disk and on the earlier batches of this group.
    fn holds(&mut self, shared: &Shared, condition: &Condition) -> Result<bool, EngineError> {
        let overlay = self.overlay.get_or_insert_with(|| {
            let row = |write: &Write| ((write.table, write.key.clone()), write.value.clone());
            self.writes.iter().map(row).collect()
        });
        let found = match overlay.get(&(condition.table, condition.key.clone())) {
            Some(value) => value.clone(),
            None => shared.engine.get(condition.table, &condition.key)?.map(|value| value.to_vec()),
        };
        Ok(found == condition.expected)
    }
}

fn write_group(shared: &Shared, jobs: impl Iterator<Item = Job>) -> Result<(), EngineError> {
    let mut group = Group::default();
    for job in jobs {
        group.add(shared, job)?;
    }
    metrics::histogram!("meridian_store_group_batches").record(group.answers.len() as f64);
    if !group.writes.is_empty() {
        shared.engine.apply(group.writes)?;
        metrics::counter!("meridian_store_flushes_total").increment(1);
    }
    shared.ahead.forget(&group.ahead);
    shared.log.publish(group.last_position, group.facts);
    shared.flushed.send_replace(group.last_ticket);
    for (answer, outcome) in group.answers {
        // Whoever asked may have gone away; the batch is applied all the same.
        let _gone = answer.send(outcome);
    }
    Ok(())
}

/// Nothing more is accepted, and everybody who waits is told.
fn fail(shared: &Shared, error: &EngineError, jobs: &mut mpsc::UnboundedReceiver<Job>) {
    tracing::error!(%error, "the storage engine failed; no further write is accepted");
    shared.failed.store(true, Ordering::Release);
    shared.failure.send_replace(Some(error.to_string()));
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        let _gone = job.answer.send(Err(CommitError::Failed(error.to_string())));
    }
}
