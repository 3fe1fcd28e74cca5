//! One destination: one transaction at a time, sent as it is until it is answered.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use ruma::OwnedServerName;
use storage::Position;
use tokio::{sync::Notify, time::Instant};

use super::{
    Sender,
    bound::Waiting,
    outbox::Failures,
    pending::Pending,
    transaction::{PDUS_MAX, Rows, Transaction, Verdict, judge},
};
use crate::{RequestError, client::Answer};

/// Beyond this pause it is of no use to keep who typed when.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Destinations that failed before the start are tried within this time of it, not all at once.
const START_SPREAD: Duration = Duration::from_secs(5);
/// A server that makes contact is tried at once, but so many times at most in the shortest pause: it
/// may be able to ask and not to answer.
const CONTACTS: u32 = 4;

pub(super) struct Destination {
    pub(super) server: OwnedServerName,
    pub(super) pending: Mutex<Pending>,
    /// A task works on it.
    running: AtomicBool,
    /// There is something new to look at.
    news: Notify,
    /// The server was heard of.
    contact: Notify,
    /// So much waits that some of it must go.
    pub(super) crowded: Notify,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// As stored; `None` before it was looked up what the server did before the start.
    pub(super) stored_failures: Option<Failures>,
    /// In a row, and since the server made contact.
    failures: u32,
    pub(super) waiting: Waiting,
    /// When it was last tried.
    tried: Option<Instant>,
    /// Refusals of single things in a row.
    refusals: u32,
    /// Set after a refusal: so much is put into a transaction, to find out what is not liked.
    pub(super) limit: Option<usize>,
    /// Events up to there were put into transactions.
    pub(super) sent: Position,
    /// Messages to devices up to there were.
    pub(super) sent_to_device: Position,
    /// Events up to there were answered.
    pub(super) answered: Position,
    /// Messages to devices up to there were answered.
    pub(super) answered_to_device: Position,
    pub(super) last_presence: Option<Instant>,
}

impl State {
    fn sends(&mut self, rows: &Rows) {
        self.sent = rows.events.last().copied().unwrap_or(self.sent);
        self.sent_to_device = rows.to_device.last().copied().unwrap_or(self.sent_to_device);
    }
}

impl Destination {
    pub(super) fn new(server: OwnedServerName) -> Self {
        Self {
            server,
            pending: Mutex::default(),
            running: AtomicBool::new(false),
            news: Notify::new(),
            contact: Notify::new(),
            crowded: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Whether the caller must start the task.
    pub(super) fn start(&self) -> bool {
        self.news.notify_one();
        self.start_quietly()
    }

    /// As [`start`](Self::start), for what a running task finds when it is time for it.
    pub(super) fn start_quietly(&self) -> bool {
        !self.running.swap(true, Ordering::AcqRel)
    }

    pub(super) fn heard_from(&self) {
        if self.state.lock().failures > 0 {
            self.contact.notify_one();
        }
    }
}

impl Sender {
    pub(super) async fn run_queue(&self, destination: &Destination) {
        let mut unanswered = self.recall(destination).await;
        loop {
            self.thin(destination).await;
            let next = match unanswered.take() {
                Some(transaction) => Some(transaction),
                None => self.next_transaction(destination).await,
            };
            match next {
                Some(transaction) => self.deliver(destination, transaction).await,
                None if self.waits_for_presence(destination).await => {}
                None => {
                    destination.running.store(false, Ordering::Release);
                    // Whoever came since the look above saw a task running.
                    let is_idle = !destination.pending.lock().is_urgent()
                        && !destination.pending.lock().has_presence()
                        && self.has_empty_outbox(destination).await;
                    if is_idle || destination.running.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        }
    }

    /// What was under way before the start. Who did not answer then is not taken for healthy.
    async fn recall(&self, destination: &Destination) -> Option<Transaction> {
        if destination.state.lock().stored_failures.is_some() {
            return None;
        }
        let failures = self.inner.outbox.failures(&destination.server).await;
        let failures = failures.unwrap_or_else(|error| {
            tracing::error!(%error, "the outbox cannot be read");
            Failures::default()
        });
        {
            let mut state = destination.state.lock();
            state.stored_failures = Some(failures);
            state.failures = failures.count;
        }
        let unanswered = self.unanswered(destination).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the outbox cannot be read");
            None
        });
        if let Some(Transaction { rows, .. }) = &unanswered {
            destination.state.lock().sends(rows);
        }
        if failures.count > 0 {
            let spread = u64::try_from(START_SPREAD.as_millis()).unwrap_or(u64::MAX);
            let wait = Duration::from_millis(self.inner.rng.below(spread));
            self.wait(destination, wait).await;
        }
        unanswered
    }

    async fn has_empty_outbox(&self, destination: &Destination) -> bool {
        let (after, after_to_device) = {
            let state = destination.state.lock();
            (state.answered, state.answered_to_device)
        };
        let (outbox, server) = (&self.inner.outbox, &destination.server);
        // If it cannot be read it is not known to be empty.
        matches!(outbox.next(server, after, 1).await.as_deref(), Ok([]))
            && matches!(outbox.next_to_device(server, after_to_device, 1).await.as_deref(), Ok([]))
    }

    /// Presence alone waits until its interval is over. `false` if none waits.
    async fn waits_for_presence(&self, destination: &Destination) -> bool {
        if !destination.pending.lock().has_presence() {
            return false;
        }
        let last = destination.state.lock().last_presence;
        if let Some(due) = last.map(|last| last + self.inner.config.presence_interval) {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = destination.news.notified() => {}
            }
        }
        true
    }

    /// Ends when the transaction was answered.
    async fn deliver(&self, destination: &Destination, transaction: Transaction) {
        let server = &destination.server;
        destination.state.lock().sends(&transaction.rows);
        let path = format!("/_matrix/federation/v1/send/{}", transaction.id);
        loop {
            let answer = self.attempt(destination, &path, transaction.body.clone()).await;
            // If there is none, the server made contact meanwhile.
            let Some(answer) = answer else { continue };
            match judge(server, answer) {
                Verdict::Taken => {
                    transaction.count();
                    self.settle(destination, &transaction.rows);
                    self.taken(destination);
                    return;
                }
                Verdict::Refused(reason) => {
                    return self.refused(destination, &transaction, &reason).await;
                }
                Verdict::None(problem) => self.pause(destination, &problem).await,
            }
        }
    }

    /// One try. It is broken off if the server makes contact after it failed before: what was sent
    /// while it was gone may take its time to find that out.
    async fn attempt(
        &self,
        destination: &Destination,
        path: &str,
        body: Bytes,
    ) -> Option<Result<Answer, RequestError>> {
        let request = async {
            destination.state.lock().tried = Some(Instant::now());
            self.inner.transport.put(&destination.server, path, body).await
        };
        if destination.state.lock().failures == 0 {
            return Some(request.await);
        }
        let in_turn = async {
            let _turn = self.inner.suspects.acquire().await;
            request.await
        };
        tokio::select! {
            answer = in_turn => Some(answer),
            () = destination.contact.notified() => {
                self.contacted(destination).await;
                None
            }
        }
    }

    fn taken(&self, destination: &Destination) {
        let mut state = destination.state.lock();
        state.failures = 0;
        state.refusals = 0;
        state.limit = state.limit.map(|limit| limit * 2).filter(|limit| *limit < PDUS_MAX);
        if state.stored_failures.is_some_and(|failures| failures.count > 0) {
            state.stored_failures = Some(Failures::default());
            self.note_failures(destination, Failures::default());
        }
    }

    /// The server does not want something of it: what that is comes out by sending less at a time.
    async fn refused(&self, destination: &Destination, transaction: &Transaction, reason: &str) {
        let (server, rows) = (&destination.server, &transaction.rows);
        tracing::warn!(%server, reason, things = rows.len(), "a transaction is refused");
        if rows.len() > 1 || (rows.len() == 1 && transaction.has_notices) {
            destination.state.lock().limit = Some((rows.len() / 2).max(1));
            return;
        }
        self.settle(destination, rows);
        let refusals = {
            let mut state = destination.state.lock();
            state.refusals += u32::try_from(rows.len()).unwrap_or(1);
            state.refusals
        };
        // A server that refuses everything is not asked the more often for it.
        if refusals > 1 {
            self.pause(destination, reason).await;
        }
    }

    /// What was answered, or cannot be sent any more, need not be kept.
    pub(super) fn settle(&self, destination: &Destination, rows: &Rows) {
        {
            let mut state = destination.state.lock();
            state.answered = rows.events.last().copied().unwrap_or(state.answered);
            let last = rows.to_device.last().copied();
            state.answered_to_device = last.unwrap_or(state.answered_to_device);
            state.waiting.settled(rows);
        }
        if rows.len() == 0 {
            return;
        }
        let Rows { events, to_device } = rows;
        if let Err(error) = self.inner.outbox.remove(&destination.server, events, to_device) {
            // They are sent again after a restart, and known then.
            tracing::error!(%error, "the outbox cannot be written");
        }
    }

    /// Waits longer after each failure, and not at all once the server makes contact.
    async fn pause(&self, destination: &Destination, problem: &str) {
        let config = &self.inner.config;
        let failures = {
            let mut state = destination.state.lock();
            state.failures = state.failures.saturating_add(1);
            let before = state.stored_failures.filter(|before| before.count > 0);
            let since = before.map_or_else(|| self.inner.clock.now_ms(), |before| before.since);
            let stored = Failures { count: state.failures, since };
            state.stored_failures = Some(stored);
            stored
        };
        self.note_failures(destination, failures);
        let failures = failures.count;
        let doubled = config.retry_min.saturating_mul(1 << (failures - 1).min(20));
        // Between 0.8 and 1.4: those who failed together do not come back together.
        let jitter = 0.8 + 0.6 * self.inner.rng.below(1000) as f64 / 1000.0;
        let pause = doubled.min(config.retry_max).mul_f64(jitter);
        tracing::info!(server = %destination.server, problem, ?pause, "a server does not answer");
        if pause > LONG_PAUSE {
            destination.pending.lock().forget_moments();
        }
        self.wait(destination, pause).await;
    }

    fn note_failures(&self, destination: &Destination, failures: Failures) {
        if let Err(error) = self.inner.outbox.set_failures(&destination.server, failures) {
            tracing::debug!(%error, "who does not answer was not written");
        }
    }

    async fn wait(&self, destination: &Destination, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            self.thin(destination).await;
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = destination.contact.notified() => return self.contacted(destination).await,
                () = destination.crowded.notified() => {}
            }
        }
    }

    async fn contacted(&self, destination: &Destination) {
        let tried = {
            let mut state = destination.state.lock();
            state.failures = 0;
            state.tried
        };
        if let Some(tried) = tried {
            tokio::time::sleep_until(tried + self.inner.config.retry_min / CONTACTS).await;
        }
    }
}
