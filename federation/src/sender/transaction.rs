//! What goes into one transaction, and what its answer says.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use storage::Position;
use tokio::time::Instant;

use super::{
    Sender, edu,
    outbox::Unanswered,
    presence::{EDUS_MAX as PRESENCE_EDUS_MAX, STATES_MAX},
    queue::Destination,
};
use crate::{RequestError, client::Answer};

pub(super) const PDUS_MAX: usize = 50;
/// Messages to devices. With typing, receipts and presence, at their most, a hundred EDUs.
const TO_DEVICE_MAX: usize = 40;
/// Bytes of events, and of messages to devices, after which no more are added: whoever is out of
/// reach costs so much memory.
const BYTES_MAX: usize = 256 << 10;
/// The pause after a failure of our own store.
const PAUSE: Duration = Duration::from_secs(1);

/// A transaction that has not been answered.
pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) rows: Rows,
    pub(super) edus: usize,
    /// There is something in it that is in no row.
    pub(super) has_notices: bool,
}

/// What a transaction takes from the outbox, by the positions there.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) events: Vec<Position>,
    pub(super) to_device: Vec<Position>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.events.len() + self.to_device.len()
    }
}

#[derive(Default)]
struct Contents {
    pdus: Vec<Bytes>,
    edus: Vec<Bytes>,
    rows: Rows,
}

/// What an answer says of a transaction.
pub(super) enum Verdict {
    Taken,
    /// It would not be taken the next time either.
    Refused(String),
    /// Nothing: it must be sent again.
    None(String),
}

impl Transaction {
    /// It was answered.
    pub(super) fn count(&self) {
        metrics::counter!("meridian_federation_sent_transactions_total").increment(1);
        metrics::counter!("meridian_federation_sent_bytes_total").increment(self.body.len() as u64);
        let pdus = self.rows.events.len() as u64;
        metrics::counter!("meridian_federation_sent_pdus_total").increment(pdus);
        metrics::counter!("meridian_federation_sent_edus_total").increment(self.edus as u64);
    }
}

impl Sender {
    pub(super) async fn next_transaction(&self, destination: &Destination) -> Option<Transaction> {
        let mut contents = loop {
            match self.read_outbox(destination).await {
                Ok(contents) => break contents,
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let durable = contents.edus.len();
        // While a server is asked what it does not like, nothing that can be lost is put to it.
        if destination.state.lock().limit.is_none() {
            let sends = !contents.rows.events.is_empty();
            contents.edus.extend(destination.pending.lock().take_notices());
            contents.edus.extend(self.due_presence(destination, sends).await);
        }
        let Contents { pdus, edus, rows } = contents;
        if pdus.is_empty() && edus.is_empty() {
            self.settle(destination, &rows);
            return None;
        }
        let txn = self.inner.next_txn.fetch_add(1, Ordering::Relaxed);
        let (id, now) = (format!("{:x}.{txn}", self.inner.boot), self.inner.clock.now_ms());
        let notices = &edus[durable..];
        if rows.len() > 0 {
            self.remember(destination, &id, now, &rows, notices);
        }
        let has_notices = !notices.is_empty();
        let body = self.body(now, &pdus, &edus);
        Some(Transaction { id, body, rows, edus: edus.len(), has_notices })
    }

    /// Whatever happens to this process, the transaction can be sent again as it was.
    fn remember(&self, at: &Destination, id: &str, now: u64, rows: &Rows, notices: &[Bytes]) {
        let record = Unanswered {
            txn_id: id.to_owned(),
            origin_server_ts: now,
            events: rows.events.clone(),
            to_device: rows.to_device.clone(),
            notices: notices.to_vec(),
        };
        if let Err(error) = self.inner.outbox.set_unanswered(&at.server, &record) {
            tracing::error!(%error, "the outbox cannot be written");
        }
    }

    /// The transaction that was not answered before the start, as it was.
    pub(super) async fn unanswered(
        &self,
        destination: &Destination,
    ) -> Result<Option<Transaction>, rooms::Error> {
        let (server, outbox) = (&destination.server, &self.inner.outbox);
        let Some(known) = outbox.unanswered(server).await? else { return Ok(None) };
        let events = outbox.next(server, 0, known.events.len()).await?;
        let messages = outbox.next_to_device(server, 0, known.to_device.len()).await?;
        let mut contents = Contents::default();
        self.add_events(&mut contents, events).await?;
        add_messages(&mut contents, messages);
        let Contents { pdus, mut edus, rows } = contents;
        if rows.events != known.events || rows.to_device != known.to_device {
            tracing::warn!(%server, "what was sent before the start is not all there any more");
            return Ok(None);
        }
        let has_notices = !known.notices.is_empty();
        edus.extend(known.notices);
        let body = self.body(known.origin_server_ts, &pdus, &edus);
        Ok(Some(Transaction { id: known.txn_id, body, rows, edus: edus.len(), has_notices }))
    }

    async fn read_outbox(&self, destination: &Destination) -> Result<Contents, rooms::Error> {
        let (server, outbox) = (&destination.server, &self.inner.outbox);
        let (after, after_to_device, limit) = {
            let state = destination.state.lock();
            (state.answered, state.answered_to_device, state.limit)
        };
        let mut contents = Contents::default();
        let events = outbox.next(server, after, limit.unwrap_or(PDUS_MAX)).await?;
        self.add_events(&mut contents, events).await?;
        let left = limit.map(|limit| limit.saturating_sub(contents.rows.len()));
        let left = left.unwrap_or(TO_DEVICE_MAX).min(TO_DEVICE_MAX);
        add_messages(&mut contents, outbox.next_to_device(server, after_to_device, left).await?);
        Ok(contents)
    }

    async fn add_events(
        &self,
        contents: &mut Contents,
        events: Vec<(Position, OwnedEventId)>,
    ) -> Result<(), rooms::Error> {
        let mut bytes = 0;
        for (position, event_id) in events {
            contents.rows.events.push(position);
            match self.inner.rooms.event_by_id(&event_id).await? {
                Some(event) => {
                    let pdu = event.pdu.json().clone();
                    bytes += pdu.len();
                    contents.pdus.push(pdu);
                }
                None => tracing::warn!(%event_id, "an event to send is not there any more"),
            }
            if bytes >= BYTES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Presence, if it is time for it or if something is sent anyway.
    async fn due_presence(&self, destination: &Destination, sends: bool) -> Vec<Bytes> {
        let interval = self.inner.config.presence_interval;
        let now = Instant::now();
        let is_due = |last: Option<Instant>| last.is_none_or(|last| now >= last + interval);
        if !sends && !is_due(destination.state.lock().last_presence) {
            return Vec::new();
        }
        let users = destination.pending.lock().take_presence(STATES_MAX * PRESENCE_EDUS_MAX);
        if users.is_empty() {
            return Vec::new();
        }
        destination.state.lock().last_presence = Some(now);
        let mut edus = Vec::new();
        for users in users.chunks(STATES_MAX) {
            edus.push(edu("m.presence", &self.presence_of(users).await));
        }
        edus
    }

    fn body(&self, origin_server_ts: u64, pdus: &[Bytes], edus: &[Bytes]) -> Bytes {
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
            origin: self.inner.rooms.server_name(),
            origin_server_ts,
            pdus: raw(pdus),
            edus: raw(edus),
        };
        serde_json::to_vec(&body).expect("names, numbers and JSON are JSON").into()
    }
}

fn add_messages(contents: &mut Contents, messages: Vec<(Position, Bytes)>) {
    let mut bytes = 0;
    for (position, content) in messages {
        contents.rows.to_device.push(position);
        bytes += content.len();
        contents.edus.extend(to_device_edu(&content));
        if bytes >= BYTES_MAX {
            break;
        }
    }
}

/// Rows hold the content of an `m.direct_to_device` EDU, or another EDU as it is.
fn to_device_edu(content: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(rename = "edu_type")]
        _edu_type: String,
    }
    if serde_json::from_slice::<Whole>(content).is_ok() {
        return Some(Bytes::copy_from_slice(content));
    }
    #[derive(Serialize)]
    struct Edu<'a> {
        edu_type: &'static str,
        content: &'a RawValue,
    }
    let edu_type = "m.direct_to_device";
    let content = serde_json::from_slice(content).ok()?;
    serde_json::to_vec(&Edu { edu_type, content }).ok().map(Bytes::from)
}

/// Only what a homeserver says counts: not the pages of something that stands before it.
pub(super) fn judge(server: &OwnedServerName, answer: Result<Answer, RequestError>) -> Verdict {
    #[derive(Deserialize)]
    struct Error {
        errcode: String,
    }
    let Answer { status, body } = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict::None(error.to_string()),
    };
    if status.is_success() {
        return match serde_json::from_slice::<BTreeMap<String, Value>>(&body) {
            Ok(answer) => {
                log_errors(server, answer.get("pdus"));
                Verdict::Taken
            }
            Err(_) => Verdict::None(format!("{status} with a body that is no answer")),
        };
    }
    let errcode = serde_json::from_slice::<Error>(&body).ok().map(|error| error.errcode);
    match (status.as_u16(), errcode) {
        (400, Some(errcode)) => Verdict::Refused(errcode),
        (413, errcode) => Verdict::Refused(errcode.unwrap_or_else(|| status.to_string())),
        (_, errcode) => Verdict::None(format!("{status} {}", errcode.unwrap_or_default())),
    }
}

/// What a server did not take of a transaction that it answered is not sent again.
fn log_errors(server: &OwnedServerName, pdus: Option<&Value>) {
    for (event_id, verdict) in pdus.and_then(Value::as_object).into_iter().flatten() {
        if let Some(error) = verdict.get("error").and_then(Value::as_str) {
            tracing::info!(%server, event_id, error, "an event was not taken");
        }
    }
}
