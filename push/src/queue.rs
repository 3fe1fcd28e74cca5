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
use serde::Deserialize;
use storage::Position;

use crate::{
    GatewayAnswer, Push, Pusher, gateways::State as GatewayState, notice::Notice,
    store::NoticeRecord,
};

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

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    Rejected,
    Failed(String),
}

fn judge(answer: Result<GatewayAnswer, String>, pushkey: &str) -> Verdict {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        rejected: Vec<String>,
    }
    match answer {
        Ok(GatewayAnswer { status: 200..=299, body }) => {
            // Whatever else it says, it took it.
            let body: Body = serde_json::from_slice(&body).unwrap_or_default();
            match body.rejected.iter().any(|key| key == pushkey) {
                true => Verdict::Rejected,
                false => Verdict::Taken,
            }
        }
        Ok(GatewayAnswer { status, .. }) => Verdict::Failed(format!("status {status}")),
        Err(error) => Verdict::Failed(error),
    }
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
    /// Makes sure that somebody works on what waits for the pusher.
    pub(crate) fn wake(&self, pusher: &Arc<Pusher>) {
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
            if !inner.is_alive(&pusher) {
                return Outcome::Gone;
            }
            let Some(notice) = self.next_notice(queue, &pusher, record).await else {
                self.settle(&pusher, position);
                return Outcome::Done;
            };
            let gateway = inner.gateways.at(pusher.gateway_host());
            let reason = match self.attempt(&pusher, &gateway, &notice).await {
                Verdict::Taken => {
                    *queue.told.lock() = Some(notice.unread);
                    self.settle(&pusher, position);
                    return Outcome::Done;
                }
                Verdict::Rejected => {
                    metrics::counter!("meridian_push_rejected_total").increment(1);
                    tracing::info!(user = %pusher.user_id, app = pusher.app_id, "a push key is rejected");
                    return Outcome::Gone;
                }
                Verdict::Failed(reason) => reason,
            };
            failures += 1;
            if self.gives_up(queue, &pusher, (position, record), &reason).await {
                return Outcome::Done;
            }
            self.pause(&pusher, &gateway, failures, &reason).await;
        }
    }

    /// `None` if there is nothing to tell.
    async fn next_notice(
        &self,
        queue: &Queue,
        pusher: &Pusher,
        record: &NoticeRecord,
    ) -> Option<Notice> {
        if !pusher.enabled {
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

    async fn attempt(&self, pusher: &Pusher, gateway: &GatewayState, notice: &Notice) -> Verdict {
        let _slot = gateway.slots.acquire().await;
        let answer = self.inner.gateway.post(pusher.url(), notice.body.clone()).await;
        let verdict = judge(answer, &pusher.pushkey);
        match &verdict {
            Verdict::Failed(_) => {
                metrics::counter!("meridian_push_failures_total").increment(1);
                gateway.failed();
            }
            _ => {
                metrics::counter!("meridian_push_sent_total").increment(1);
                gateway.answered();
            }
        }
        verdict
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
        for letter in dead {
            queue.done.fetch_max(letter.0, Ordering::AcqRel);
            metrics::counter!("meridian_push_given_up_total").increment(1);
            if let Err(error) = outbox.bury(pusher, letter, reason, now).await {
                tracing::error!(%error, "what is given up cannot be written");
            }
        }
        if gives_up {
            let gateway = pusher.gateway_host();
            tracing::warn!(user = %pusher.user_id, gateway, reason, "a push is given up");
            if let Err(error) = outbox.thin_dead().await {
                tracing::error!(%error, "what is given up cannot be written");
            }
        }
        gives_up
    }

    /// Longer after each failure, and not much longer than the gateway is gone.
    async fn pause(&self, pusher: &Pusher, gateway: &GatewayState, failures: u32, reason: &str) {
        let config = &self.inner.config;
        let doubled = config.retry_min.saturating_mul(1 << (failures - 1).min(20));
        // Between 0.8 and 1.4: those who failed together do not come back together.
        let jitter = 0.8 + 0.6 * self.inner.rng.below(1000) as f64 / 1000.0;
        let pause = doubled.min(config.retry_max).mul_f64(jitter);
        let gateway_host = pusher.gateway_host();
        tracing::info!(
            gateway = gateway_host,
            reason,
            ?pause,
            "a push gateway does not take a push"
        );
        let soonest = pause.min(SOONEST);
        tokio::time::sleep(soonest).await;
        tokio::select! {
            () = tokio::time::sleep(pause - soonest) => {}
            () = gateway.recovered.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayAnswer, Verdict, judge};

    #[test]
    fn an_answer_counts_by_its_status_and_the_keys_it_rejects() {
        let judged = |status, body: &'static str| {
            judge(Ok(GatewayAnswer { status, body: body.into() }), "key")
        };
        for body in ["", "{}", r#"{"rejected":[]}"#, r#"{"rejected":["other"]}"#, "nonsense"] {
            assert_eq!(judged(200, body), Verdict::Taken, "{body}");
        }
        assert_eq!(judged(200, r#"{"rejected":["other","key"]}"#), Verdict::Rejected);
        for status in [302, 400, 404, 429, 500, 502] {
            let rejecting = judged(status, r#"{"rejected":["key"]}"#);
            assert_eq!(rejecting, Verdict::Failed(format!("status {status}")));
        }
        assert_eq!(judge(Err("gone".to_owned()), "key"), Verdict::Failed("gone".to_owned()));
    }
}
