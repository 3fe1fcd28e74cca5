//! One destination: one transaction at a time, sent as it is until it is answered.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::Position;
use tokio::{sync::Notify, time::Instant};

use super::{Sender, edu, pending::Pending, presence::STATES_MAX};
use crate::Limits;

const PDUS_MAX: usize = 50;
/// Messages to devices in one transaction, of the hundred EDUs that it may hold.
const TO_DEVICE_MAX: usize = 40;
const LIMITS: Limits = Limits { time: Duration::from_secs(60), body: 4 << 20 };
/// Beyond this pause it is of no use to keep who typed when.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a failure of our own store.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Destination {
    pub(super) server: OwnedServerName,
    pub(super) pending: Mutex<Pending>,
    /// A task works on it.
    running: AtomicBool,
    /// There is something new to look at.
    news: Notify,
    /// The server was heard of.
    contact: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Events up to there were answered.
    answered: Position,
    /// Messages to devices up to there were answered.
    answered_to_device: Position,
    last_presence: Option<Instant>,
}

/// A transaction that has not been answered.
struct Transaction {
    id: String,
    body: Bytes,
    /// Of the events in it.
    positions: Vec<Position>,
    /// Of the messages to devices.
    to_device: Vec<Position>,
}

impl Destination {
    pub(super) fn new(server: OwnedServerName) -> Self {
        Self {
            server,
            pending: Mutex::default(),
            running: AtomicBool::new(false),
            news: Notify::new(),
            contact: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Whether the caller must start the task.
    pub(super) fn start(&self) -> bool {
        self.news.notify_one();
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
        loop {
            match self.next_transaction(destination).await {
                Some(transaction) => self.deliver(destination, transaction).await,
                None if self.waits_for_presence(destination).await => {}
                None => {
                    destination.running.store(false, Ordering::Release);
                    // Whoever came since the look above saw a task running.
                    let is_idle = !destination.pending.lock().is_urgent()
                        && !destination.pending.lock().has_presence()
                        && self.has_no_events(destination).await;
                    if is_idle || destination.running.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        }
    }

    async fn has_no_events(&self, destination: &Destination) -> bool {
        let after = destination.state.lock().answered;
        let next = self.inner.outbox.next(&destination.server, after, 1).await;
        let after = destination.state.lock().answered_to_device;
        let messages = self.inner.outbox.next_to_device(&destination.server, after, 1).await;
        next.map_or(true, |events| events.is_empty())
            && messages.map_or(true, |messages| messages.is_empty())
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

    async fn next_transaction(&self, destination: &Destination) -> Option<Transaction> {
        let outbox = &self.inner.outbox;
        let rows = loop {
            let after = destination.state.lock().answered;
            match outbox.next(&destination.server, after, PDUS_MAX).await {
                Ok(rows) => break rows,
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut pdus = Vec::with_capacity(rows.len());
        let mut positions = Vec::with_capacity(rows.len());
        for (position, event_id) in rows {
            match self.inner.rooms.event_by_id(&event_id).await {
                Ok(Some(event)) => pdus.push(event.pdu.json().clone()),
                Ok(None) => tracing::warn!(%event_id, "an event to send is not there any more"),
                Err(error) => {
                    tracing::error!(%error, %event_id, "an event to send cannot be read");
                    break;
                }
            }
            positions.push(position);
        }
        let messages = self.next_to_device(destination).await;
        let mut edus: Vec<Bytes> =
            messages.iter().filter_map(|(_, content)| to_device_edu(content)).collect();
        let to_device: Vec<Position> = messages.into_iter().map(|(at, _)| at).collect();
        edus.extend(destination.pending.lock().take_notices());
        edus.extend(self.due_presence(destination, !positions.is_empty()).await);
        if pdus.is_empty() && edus.is_empty() {
            self.settle(destination, &positions, &to_device);
            return None;
        }
        let txn = self.inner.next_txn.fetch_add(1, Ordering::Relaxed);
        Some(Transaction {
            id: format!("{:x}.{txn}", self.inner.boot),
            body: self.body(&pdus, &edus),
            positions,
            to_device,
        })
    }

    async fn next_to_device(&self, destination: &Destination) -> Vec<(Position, Bytes)> {
        let after = destination.state.lock().answered_to_device;
        let outbox = &self.inner.outbox;
        let next = outbox.next_to_device(&destination.server, after, TO_DEVICE_MAX).await;
        next.unwrap_or_else(|error| {
            tracing::error!(%error, "the outbox cannot be read");
            Vec::new()
        })
    }

    /// Presence, if it is time for it or if something is sent anyway.
    async fn due_presence(&self, destination: &Destination, sends: bool) -> Option<Bytes> {
        let interval = self.inner.config.presence_interval;
        let is_due = destination
            .state
            .lock()
            .last_presence
            .is_none_or(|last| Instant::now() >= last + interval);
        if !is_due && !sends {
            return None;
        }
        let users = destination.pending.lock().take_presence(STATES_MAX);
        if users.is_empty() {
            return None;
        }
        destination.state.lock().last_presence = Some(Instant::now());
        Some(edu("m.presence", &self.presence_of(&users).await))
    }

    fn body(&self, pdus: &[Bytes], edus: &[Bytes]) -> Bytes {
        #[derive(Serialize)]
        struct Body<'a> {
            origin: &'a ServerName,
            origin_server_ts: u64,
            pdus: Vec<&'a RawValue>,
            edus: Vec<&'a RawValue>,
        }
        fn raw(jsons: &[Bytes]) -> Vec<&RawValue> {
            jsons.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect()
        }
        let body = Body {
            origin: self.inner.client.server_name(),
            origin_server_ts: self.inner.clock.now_ms(),
            pdus: raw(pdus),
            edus: raw(edus),
        };
        serde_json::to_vec(&body).expect("names, numbers and JSON are JSON").into()
    }

    /// Ends when the transaction was answered.
    async fn deliver(&self, destination: &Destination, transaction: Transaction) {
        let server = &destination.server;
        let path = format!("/_matrix/federation/v1/send/{}", transaction.id);
        loop {
            let client = &self.inner.client;
            let body = Some(transaction.body.clone());
            let answer = client.request(server, Method::PUT, &path, body, LIMITS).await;
            let problem = match answer {
                Ok(answer) if answer.status.is_success() => {
                    log_errors(server, &answer.body);
                    destination.state.lock().failures = 0;
                    break;
                }
                // It will not like the same any better later.
                Ok(answer) if matches!(answer.status.as_u16(), 400 | 413) => {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    tracing::warn!(%server, status = %answer.status, body, "a transaction is refused");
                    break;
                }
                Ok(answer) => answer.status.to_string(),
                Err(error) => error.to_string(),
            };
            self.pause(destination, &problem).await;
        }
        self.settle(destination, &transaction.positions, &transaction.to_device);
    }

    /// What was answered, or cannot be sent any more, need not be kept.
    fn settle(&self, destination: &Destination, positions: &[Position], to_device: &[Position]) {
        {
            let mut state = destination.state.lock();
            state.answered = positions.last().copied().unwrap_or(state.answered);
            let last = to_device.last().copied();
            state.answered_to_device = last.unwrap_or(state.answered_to_device);
        }
        if positions.is_empty() && to_device.is_empty() {
            return;
        }
        if let Err(error) = self.inner.outbox.remove(&destination.server, positions, to_device) {
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
            state.failures
        };
        let doubled = config.retry_min.saturating_mul(1 << (failures - 1).min(20));
        // Between 0.8 and 1.4: those who failed together do not come back together.
        let jitter = 0.8 + 0.6 * self.inner.rng.below(1000) as f64 / 1000.0;
        let pause = doubled.min(config.retry_max).mul_f64(jitter);
        tracing::info!(server = %destination.server, problem, ?pause, "a server does not answer");
        if pause > LONG_PAUSE {
            destination.pending.lock().forget_moments();
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = destination.contact.notified() => {}
        }
    }
}

fn to_device_edu(content: &[u8]) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Edu<'a> {
        edu_type: &'static str,
        content: &'a RawValue,
    }
    let edu_type = "m.direct_to_device";
    let content = serde_json::from_slice(content).ok()?;
    serde_json::to_vec(&Edu { edu_type, content }).ok().map(Bytes::from)
}

/// What a server did not take of a transaction that it answered is not sent again.
fn log_errors(server: &OwnedServerName, answer: &[u8]) {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        pdus: std::collections::BTreeMap<String, serde_json::Value>,
    }
    let Ok(Answer { pdus }) = serde_json::from_slice(answer) else { return };
    for (event_id, verdict) in pdus {
        if let Some(error) = verdict.get("error").and_then(serde_json::Value::as_str) {
            tracing::info!(%server, event_id, error, "an event was not taken");
        }
    }
}
