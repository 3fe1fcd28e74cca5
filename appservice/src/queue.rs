//! One application service: one transaction at a time, sent as it is until it is answered ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#pushing-events

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use storage::Position;

use crate::{
    call::Request,
    deliveries::{Deliveries, Queue},
    ports::Method,
    store::Transaction,
};

/// Events in one transaction.
const EVENTS_MAX: usize = 100;
/// What an application service may take for one transaction.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events that wait for one application service; beyond that the oldest are given up.
const WAITING_MAX: usize = 1_000_000;
/// After a failure of the store, which usually ends the process.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A transaction, and the rows that it makes needless.
struct Next {
    transaction: Transaction,
    events: Vec<Position>,
}

impl Deliveries {
    pub(crate) async fn run_queue(self, queue: Arc<Queue>) {
        let mut last = self.recall(&queue).await;
        if !last.body.is_empty() {
            let events = self.sent_before(&queue, last.up_to).await;
            self.send(&queue, Next { transaction: last.clone(), events }).await;
        }
        loop {
            self.thin(&queue).await;
            match self.next(&queue, &last).await {
                Ok(Some(next)) => {
                    last = next.transaction.clone();
                    self.send(&queue, next).await;
                }
                Ok(None) => queue.news.notified().await,
                Err(error) => {
                    tracing::error!(%error, service = queue.id(), "nothing can be sent");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// The newest transaction of before the start, and how much has waited since.
    async fn recall(&self, queue: &Queue) -> Transaction {
        let store = &self.inner.store;
        loop {
            let found = async {
                let waiting = store.count(queue.id()).await?;
                Ok::<_, storage::ReadError>((store.transaction(queue.id()).await?, waiting))
            };
            match found.await {
                Ok((transaction, waiting)) => {
                    queue.waiting.fetch_add(waiting, Ordering::Relaxed);
                    return transaction;
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// The rows of events that a transaction of before the start holds.
    async fn sent_before(&self, queue: &Queue, up_to: Position) -> Vec<Position> {
        let rows = self.inner.store.next(queue.id(), 0, EVENTS_MAX).await.unwrap_or_default();
        rows.into_iter().map(|(position, _)| position).filter(|at| *at <= up_to).collect()
    }

    /// The transaction after `last`, on disk.
    async fn next(&self, queue: &Queue, last: &Transaction) -> Result<Option<Next>, rooms::Error> {
        let inner = &self.inner;
        let rows = inner.store.next(queue.id(), last.up_to, EVENTS_MAX).await?;
        let taken = queue.pending.lock().take();
        let events: Vec<Position> = rows.iter().map(|(position, _)| *position).collect();
        let records: Vec<_> = rows.into_iter().map(|(_, record)| record).collect();
        let Some(body) = inner.body(&queue.service, &records, taken).await? else {
            return Ok(None);
        };
        let transaction = Transaction {
            txn_id: last.txn_id + 1,
            body,
            up_to: events.last().copied().unwrap_or(last.up_to),
        };
        inner.store.set_transaction(queue.id(), &transaction).await?;
        Ok(Some(Next { transaction, events }))
    }

    /// Returns once it is answered.
    async fn send(&self, queue: &Queue, next: Next) {
        let Next { transaction, events } = next;
        let txn_id = transaction.txn_id;
        let request = Request {
            method: Method::Put,
            path: &format!("/_matrix/app/v1/transactions/{txn_id}"),
            legacy_path: &format!("/transactions/{txn_id}"),
            body: transaction.body.clone(),
            time: PATIENCE,
        };
        let mut failures = 0;
        loop {
            let problem = match self.inner.caller.call(&queue.service, &request).await {
                Ok(answer) if (200..300).contains(&answer.status) => break,
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            failures += 1;
            self.pause(queue, failures, &problem).await;
            self.thin(queue).await;
        }
        queue.waits_less(events.len());
        if let Err(error) = self.inner.store.settle(queue.id(), &transaction, &events) {
            // It is sent again after a restart, and known then.
            tracing::error!(%error, "the outbox cannot be written");
        }
    }

    /// Waits longer after each failure, and no longer once the application service answers a ping.
    async fn pause(&self, queue: &Queue, failures: u32, problem: &str) {
        let config = &self.inner.config;
        let doubled = config.retry_min.saturating_mul(1 << (failures - 1).min(20));
        // Between 0.8 and 1.2: those who failed together do not come back together.
        let jitter = 0.8 + 0.4 * self.inner.rng.below(1000) as f64 / 1000.0;
        let pause = doubled.min(config.retry_max).mul_f64(jitter);
        tracing::info!(service = queue.id(), problem, ?pause, "an application service fails");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = queue.contact.notified() => {}
        }
    }

    /// Keeps the outbox of one that is gone for long from growing.
    async fn thin(&self, queue: &Queue) {
        while queue.waiting.load(Ordering::Relaxed) > WAITING_MAX {
            match self.inner.store.drop_oldest(queue.id()).await {
                Ok(0) => return,
                Ok(dropped) => {
                    queue.waits_less(dropped);
                    tracing::error!(service = queue.id(), dropped, "events are given up");
                }
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be written");
                    return;
                }
            }
        }
    }
}
