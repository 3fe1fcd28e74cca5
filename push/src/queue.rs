//! One pusher: one notification at a time, until its gateway has it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use storage::Position;
use tokio::sync::futures::Notified;

use crate::{Kind, Push, Pusher, delivery::Verdict, notice::Notice, store::NoticeRecord};

/// Rows that are read at a time.
const PAGE: usize = 50;
/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// A gateway that answers others may still refuse one: that one comes again after this time at the
/// soonest.
const SOONEST: Duration = Duration::from_secs(10);

/// Those that something was ever sent to, by the id of the pusher.
#[derive(Default)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<u64, Arc<Queue>>>,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// A task works on it.
    running: AtomicBool,
    /// Rows up to here are done with, though they may still be there.
    done: AtomicU64,
    /// The count that was told last.
    told: Mutex<Option<u64>>,
}

/// What became of a notification.
enum Outcome {
    Done,
    /// There is no such pusher any more.
    Gone,
}

impl Queues {
    fn get(&self, pusher: u64) -> Arc<Queue> {
        Arc::clone(self.queues.lock().entry(pusher).or_default())
    }

    pub(crate) fn forget(&self, pusher: u64) {
        self.queues.lock().remove(&pusher);
    }
}

impl Push {
    /// Makes sure that somebody works on what waits for the pusher, of which something was put there at
    /// `ts`, in milliseconds.
    pub(crate) fn wake(&self, pusher: &Arc<Pusher>, ts: u64) {
        if pusher.kind == Kind::Email {
            self.wake_for_mail(pusher, ts);
            return;
        }
        let queue = self.inner.queues.get(pusher.id);
        if queue.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, pusher) = (self.clone(), Arc::clone(pusher));
        self.inner.tasks.spawn_until_stopped("push queue", async move {
            this.run_queue(&queue, &pusher).await;
        });
    }

    async fn run_queue(&self, queue: &Queue, pusher: &Pusher) {
        loop {
            let rows = self.waiting(queue, pusher, PAGE).await;
            if rows.is_empty() {
                queue.running.store(false, Ordering::Release);
                // Whoever came since the look above saw a task running.
                let is_idle = self.waiting(queue, pusher, 1).await.is_empty();
                if is_idle || queue.running.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            for (position, notice) in rows {
                if position <= queue.done.load(Ordering::Acquire) {
                    continue;
                }
                match self.deliver(queue, pusher, position, &notice).await {
                    Outcome::Done => drop(queue.done.fetch_max(position, Ordering::AcqRel)),
                    Outcome::Gone => {
                        self.forget(pusher).await;
                        return;
                    }
                }
            }
        }
    }

    async fn waiting(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        limit: usize,
    ) -> Vec<(Position, NoticeRecord)> {
        loop {
            let after = queue.done.load(Ordering::Acquire);
            match self.inner.outbox.next(pusher.id, after, limit).await {
                Ok(rows) => return rows,
                Err(error) => tracing::error!(%error, "what is to be pushed cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends when the gateway has it, or never will.
    async fn deliver(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        position: Position,
        record: &NoticeRecord,
    ) -> Outcome {
        let inner = &*self.inner;
        let mut failures = 0;
        loop {
            let Some(pusher) = inner.registry.current(pusher) else { return Outcome::Gone };
            if !inner.is_alive(&pusher).await {
                return Outcome::Gone;
            }
            let Some(notice) = self.next_notice(queue, &pusher, record).await else {
                self.settle(&pusher, position);
                return Outcome::Done;
            };
            let (gateway, unread) = (inner.gateways.at(pusher.gateway_host()), notice.unread);
            // From before the attempt on, so that nobody's success is missed.
            let recovered = gateway.recovered.notified();
            let failure = match self.attempt(&pusher, &gateway, record, notice).await {
                Verdict::Taken => {
                    *queue.told.lock() = Some(unread);
                    self.settle(&pusher, position);
                    return Outcome::Done;
                }
                Verdict::Rejected => {
                    metrics::counter!("meridian_push_rejected_total").increment(1);
                    tracing::info!(user = %pusher.user_id, app = pusher.app_id, "a push key is rejected");
                    return Outcome::Gone;
                }
                Verdict::Refused(reason) => {
                    self.give_up(queue, &pusher, vec![(position, record.clone())], &reason).await;
                    return Outcome::Done;
                }
                Verdict::Failed { reason, retry_after } => (reason, retry_after),
            };
            failures += 1;
            if self.gives_up(queue, &pusher, (position, record), &failure.0).await {
                return Outcome::Done;
            }
            self.pause(&pusher, recovered, failures, failure).await;
        }
    }

    /// `None` if there is nothing to tell.
    async fn next_notice(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        record: &NoticeRecord,
    ) -> Option<Notice> {
        if !pusher.is_on() {
            return None;
        }
        loop {
            match self.inner.notice(pusher, record).await {
                Ok(notice) => {
                    let told = *queue.told.lock();
                    let is_news =
                        |notice: &Notice| record.event_id.is_some() || told != Some(notice.unread);
                    return notice.filter(is_news);
                }
                Err(sync::SyncError::Store(error)) => {
                    tracing::error!(%error, "what is to be pushed cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, room.id = %record.room_id, "cannot be pushed");
                    return None;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn settle(&self, pusher: &Pusher, position: Position) {
        if let Err(error) = self.inner.outbox.settle(pusher.id, position) {
            tracing::error!(%error, "what was pushed cannot be removed");
        }
    }

    /// Whether the notification has waited too long, or is one of too many.
    async fn gives_up(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        (position, record): (Position, &NoticeRecord),
        reason: &str,
    ) -> bool {
        let (outbox, config) = (&self.inner.outbox, &self.inner.config);
        let now = self.inner.clock.now_ms();
        let mut dead = outbox.thin(pusher.id, config.waiting_max).await.unwrap_or_else(|error| {
            tracing::error!(%error, "what is to be pushed cannot be read");
            Vec::new()
        });
        let waited = Duration::from_millis(now.saturating_sub(record.ts));
        if waited >= config.give_up && dead.is_empty() {
            dead.push((position, record.clone()));
        }
        let gives_up = dead.iter().any(|(at, _)| *at == position);
        self.give_up(queue, pusher, dead, reason).await;
        gives_up
    }

    async fn give_up(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        dead: Vec<(Position, NoticeRecord)>,
        reason: &str,
    ) {
        let Some(newest) = dead.iter().map(|(at, _)| *at).max() else { return };
        queue.done.fetch_max(newest, Ordering::AcqRel);
        self.bury(pusher, dead, reason).await;
    }

    /// Puts what is given up where the operator sees it.
    pub(crate) async fn bury(
        &self,
        pusher: &Pusher,
        dead: Vec<(Position, NoticeRecord)>,
        reason: &str,
    ) {
        let (outbox, now) = (&self.inner.outbox, self.inner.clock.now_ms());
        let gateway = pusher.gateway_host();
        tracing::warn!(user = %pusher.user_id, gateway, reason, "pushes are given up: {}", dead.len());
        metrics::counter!("meridian_push_given_up_total").increment(dead.len() as u64);
        if let Err(error) = outbox.bury(pusher, dead, reason, now).await {
            tracing::error!(%error, "what is given up cannot be written");
        }
        if let Err(error) = outbox.thin_dead().await {
            tracing::error!(%error, "what is given up cannot be written");
        }
    }

    /// Longer after each failure, and not much longer than the gateway is gone.
    async fn pause(
        &self,
        pusher: &Pusher,
        recovered: Notified<'_>,
        failures: u32,
        (reason, retry_after): (String, Option<Duration>),
    ) {
        let config = &self.inner.config;
        // Between 0.8 and 1.4: those who failed together do not come back together.
        let jitter = 0.8 + 0.6 * self.inner.rng.below(1000) as f64 / 1000.0;
        let wanted = retry_after.unwrap_or_default().min(config.give_up);
        let pause = config.pause_after(failures).mul_f64(jitter).max(wanted);
        let gateway_host = pusher.gateway_host();
        tracing::info!(
            gateway = gateway_host,
            reason,
            ?pause,
            "a push gateway does not take a push"
        );
        let soonest = pause.min(SOONEST.max(wanted));
        tokio::time::sleep(soonest).await;
        tokio::select! {
            () = tokio::time::sleep(pause - soonest) => {}
            () = recovered => {}
        }
    }
}
