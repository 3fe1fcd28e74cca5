//! Transactions of other servers: one at a time from each, answered once all of it is durable.
//!
//! The answer is kept, so a server that did not get it and sends the transaction again gets the
//! same one. Nothing is answered before what it says is on disk; a crash before that makes the
//! other server send it again.

mod store;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use rooms::ReceiveOutcome;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use storage::Batch;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use self::store::{AnswerRecord, Answers};
use crate::{error::Error, inbound::Inbound};

/// "The list must not be more than 50 PDUs", "100 EDUs".
const PDUS_MAX: usize = 50;
const EDUS_MAX: usize = 100;
const TXN_ID_BYTES_MAX: usize = 255;
/// Rooms of one transaction that are worked on at once: all of them, so that they share a flush.
const ROOMS_AT_ONCE: usize = PDUS_MAX;

/// What is under way, by origin.
#[derive(Default)]
pub(crate) struct Transactions(Mutex<HashMap<OwnedServerName, Arc<AsyncMutex<()>>>>);

#[derive(Deserialize)]
struct Body {
    origin: Option<OwnedServerName>,
    pdus: Vec<Box<RawValue>>,
    #[serde(default)]
    edus: Vec<Box<RawValue>>,
}

impl Inbound {
    /// The answer's body. The work goes on if the other server hangs up.
    pub(crate) async fn receive_transaction(
        &self,
        origin: OwnedServerName,
        txn_id: String,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        if txn_id.len() > TXN_ID_BYTES_MAX {
            return Err(Error::invalid_param("the transaction id is too long"));
        }
        let (done, answer) = oneshot::channel();
        let this = self.clone();
        self.inner.tasks.spawn("transaction", async move {
            let result = this.one_at_a_time(&origin, &txn_id, &body).await;
            // An error only says that the other server has hung up.
            let _nobody = done.send(result);
        });
        answer.await.unwrap_or_else(|_| Err(Error::internal(&"a transaction came to no end")))
    }

    async fn one_at_a_time(
        &self,
        origin: &OwnedServerName,
        txn_id: &str,
        body: &Bytes,
    ) -> Result<Bytes, Error> {
        let transactions = &self.inner.transactions.0;
        let turn = Arc::clone(transactions.lock().entry(origin.clone()).or_default());
        let guard = turn.lock().await;
        let result = self.once(origin, txn_id, body).await;
        drop(guard);
        let mut transactions = transactions.lock();
        if Arc::strong_count(&turn) <= 2 {
            transactions.remove(origin);
        }
        result
    }

    async fn once(
        &self,
        origin: &OwnedServerName,
        txn_id: &str,
        body: &Bytes,
    ) -> Result<Bytes, Error> {
        let store = &self.inner.store;
        let last = store.get::<Answers>(origin.as_str(), ()).await?;
        if let Some(last) = last.filter(|last| last.txn_id == txn_id) {
            return Ok(last.answer);
        }
        let body: Body = serde_json::from_slice(body)
            .map_err(|error| Error::bad_json(format!("The transaction cannot be read: {error}")))?;
        if body.origin.as_ref().is_some_and(|named| named != origin) {
            return Err(Error::forbidden("`origin` is not the server that sends this"));
        }
        if body.pdus.len() > PDUS_MAX || body.edus.len() > EDUS_MAX {
            let limits = format!("at most {PDUS_MAX} PDUs and {EDUS_MAX} EDUs in a transaction");
            return Err(Error::invalid_param(limits));
        }
        let outcomes = self.receive_pdus(origin, body.pdus).await;
        self.receive_edus(origin, body.edus).await;
        let answer = answer(outcomes)?;
        let record = AnswerRecord { txn_id: txn_id.to_owned(), answer: answer.clone() };
        let mut batch = Batch::new();
        batch.put::<Answers>(origin.as_str(), (), &record);
        // Not waited for: without it the same transaction is looked at again, and its events are known.
        let _written_soon = store.submit(batch)?;
        Ok(answer)
    }

    async fn receive_pdus(
        &self,
        origin: &OwnedServerName,
        pdus: Vec<Box<RawValue>>,
    ) -> Vec<ReceiveOutcome> {
        let mut by_room: BTreeMap<OwnedRoomId, Vec<Bytes>> = BTreeMap::new();
        for pdu in pdus {
            let pdu = Bytes::from(String::from(Box::<str>::from(pdu)));
            // What does not even name a room concerns nobody.
            if let Ok(peek) = events::peek(&pdu)
                && let Some(room) = peek.room_id
            {
                by_room.entry(room).or_default().push(pdu);
            }
        }
        stream::iter(by_room)
            .map(async |(room, pdus)| self.inner.rooms.receive(origin, &room, pdus).await)
            .buffer_unordered(ROOMS_AT_ONCE)
            .concat()
            .await
    }
}

/// "The PDU response": empty, or an error.
fn answer(outcomes: Vec<ReceiveOutcome>) -> Result<Bytes, Error> {
    let mut pdus: BTreeMap<OwnedEventId, serde_json::Value> = BTreeMap::new();
    for ReceiveOutcome { event_id, result } in outcomes {
        let Some(event_id) = event_id else { continue };
        let verdict = match result {
            Ok(_) => json!({}),
            // Our own trouble: the other server must send it again.
            Err(rooms::ReceiveError::LowSpace) => return Err(rooms::Error::LowSpace.into()),
            Err(rooms::ReceiveError::Internal(reason)) => return Err(Error::internal(&reason)),
            Err(error) => json!({ "error": error.to_string() }),
        };
        pdus.insert(event_id, verdict);
    }
    let body = serde_json::to_vec(&json!({ "pdus": pdus }));
    body.map(Bytes::from).map_err(|error| Error::internal(&error))
}
