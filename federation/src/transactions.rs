//! Transactions of other servers: one at a time from each, answered once all of it is durable.
//!
//! The answer is kept, so a server that did not get it and sends the transaction again gets the
//! same one. Nothing is answered before what it says is on disk; a crash before that makes the
//! other server send it again.

mod store;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use rooms::{ReceiveError, ReceiveOutcome};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
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

/// Transactions of one server that may wait for their turn: it sends one after the other, and again
/// what it gave up waiting for.
const WAITING_MAX: usize = 4;
/// What to wait for when there are more.
const PAUSE: Duration = Duration::from_secs(10);
/// How often a transaction fails for a reason of ours before it is answered without what failed:
/// trouble that does not pass must not end the federation with a server.
const FAILURES_MAX: u32 = 5;
/// Servers whose last transaction failed.
const FAILED_MAX: usize = 10_000;

type Turn = Arc<AsyncMutex<()>>;

/// What is under way, by origin.
#[derive(Default)]
pub(crate) struct Transactions {
    turns: Mutex<HashMap<OwnedServerName, Turn>>,
    /// The transaction that failed last, and how often.
    failed: Mutex<HashMap<OwnedServerName, (String, u32)>>,
}

impl Transactions {
    /// Fails if too many transactions of the server wait already.
    fn turn(&self, origin: &ServerName) -> Result<Turn, Error> {
        let mut turns = self.turns.lock();
        let turn = turns.entry(origin.to_owned()).or_default();
        // One is that of the map, and one that of the transaction that is being worked on.
        if Arc::strong_count(turn) >= WAITING_MAX + 2 {
            return Err(Error::limit_exceeded(PAUSE));
        }
        Ok(Arc::clone(turn))
    }

    fn done(&self, origin: &ServerName, turn: &Turn) {
        let mut turns = self.turns.lock();
        if Arc::strong_count(turn) <= 2 {
            turns.remove(origin);
        }
    }

    /// Whether to give up what failed.
    fn failed_for_good(&self, origin: &ServerName, txn_id: &str) -> bool {
        let mut failed = self.failed.lock();
        if failed.len() >= FAILED_MAX && !failed.contains_key(origin) {
            failed.clear();
        }
        let (last, times) = failed.entry(origin.to_owned()).or_default();
        if last != txn_id {
            (*last, *times) = (txn_id.to_owned(), 0);
        }
        *times += 1;
        *times >= FAILURES_MAX
    }
}

#[derive(Deserialize)]
struct Body {
    origin: Option<OwnedServerName>,
    /// Required, and left out by some when there are none.
    #[serde(default)]
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
        let turn = self.inner.transactions.turn(&origin)?;
        let (done, answer) = oneshot::channel();
        let this = self.clone();
        self.inner.tasks.spawn("transaction", async move {
            let guard = turn.lock().await;
            let result = this.once(&origin, &txn_id, &body).await;
            drop(guard);
            this.inner.transactions.done(&origin, &turn);
            // An error only says that the other server has hung up.
            let _nobody = done.send(result);
        });
        answer.await.unwrap_or_else(|_| Err(Error::internal(&"a transaction came to no end")))
    }

    async fn once(
        &self,
        origin: &OwnedServerName,
        txn_id: &str,
        body: &Bytes,
    ) -> Result<Bytes, Error> {
        let store = &self.inner.store;
        let last = store.get_latest::<Answers>(origin.as_str(), ()).await?;
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
        let noticed = self.receive_edus(origin, body.edus).await;
        if let Err(error) = noticed.and_then(|()| our_trouble(&outcomes))
            && !(error.is_internal() && self.inner.transactions.failed_for_good(origin, txn_id))
        {
            return Err(error);
        }
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

/// What is wrong here, not with an event: the other server must send the transaction again.
fn our_trouble(outcomes: &[ReceiveOutcome]) -> Result<(), Error> {
    for outcome in outcomes {
        match &outcome.result {
            Err(ReceiveError::LowSpace) => return Err(rooms::Error::LowSpace.into()),
            Err(ReceiveError::Internal(reason)) => return Err(Error::internal(reason)),
            _ => {}
        }
    }
    Ok(())
}

/// "The PDU response": empty, or an error.
fn answer(outcomes: Vec<ReceiveOutcome>) -> Result<Bytes, Error> {
    let mut pdus: BTreeMap<OwnedEventId, serde_json::Value> = BTreeMap::new();
    for ReceiveOutcome { event_id, result } in outcomes {
        let Some(event_id) = event_id else { continue };
        let verdict = match result {
            Ok(_) => json!({}),
            Err(error) => json!({ "error": error.to_string() }),
        };
        pdus.insert(event_id, verdict);
    }
    let body = serde_json::to_vec(&json!({ "pdus": pdus }));
    body.map(Bytes::from).map_err(|error| Error::internal(&error))
}

#[cfg(test)]
mod tests {
    use rooms::{ReceiveError, ReceiveOutcome, Received};
    use ruma::server_name;

    use super::{FAILURES_MAX, Transactions, WAITING_MAX, our_trouble};

    #[test]
    fn what_failed_here_is_not_answered_whether_or_not_the_event_has_an_id() {
        let outcome = |event_id: Option<&str>, result| ReceiveOutcome {
            event_id: event_id.map(|id| id.try_into().unwrap()),
            result,
        };
        let dropped = || Err(ReceiveError::Dropped("bad".to_owned()));
        let fine = [
            outcome(Some("$a"), Ok(Received::Accepted)),
            outcome(Some("$b"), Ok(Received::Rejected("no".to_owned()))),
            outcome(None, Err(ReceiveError::UnknownRoom)),
            outcome(None, dropped()),
        ];
        assert!(our_trouble(&fine).is_ok());
        for trouble in [ReceiveError::LowSpace, ReceiveError::Internal("disk".to_owned())] {
            for id in [None, Some("$c")] {
                let outcomes = [outcome(Some("$a"), dropped()), outcome(id, Err(trouble.clone()))];
                assert!(our_trouble(&outcomes).is_err(), "{trouble} of {id:?}");
            }
        }
    }

    #[test]
    fn a_transaction_that_never_succeeds_is_given_up() {
        let (transactions, origin) = (Transactions::default(), server_name!("a.test"));
        let fails = |id| transactions.failed_for_good(origin, id);
        for _ in 1..FAILURES_MAX {
            assert!(!fails("t1"));
        }
        assert!(fails("t1"));
        assert!(!fails("t2"), "another one has not failed before");
        assert!(!fails("t1"));
    }

    #[test]
    fn those_who_wait_for_their_turn_are_counted() {
        let (transactions, origin) = (Transactions::default(), server_name!("a.test"));
        let mut turns: Vec<_> =
            (0..=WAITING_MAX).map(|_| transactions.turn(origin).unwrap()).collect();
        assert!(transactions.turn(origin).is_err());
        assert!(transactions.turn(server_name!("b.test")).is_ok());
        let turn = turns.pop().unwrap();
        transactions.done(origin, &turn);
        drop(turn);
        turns.push(transactions.turn(origin).unwrap());
        assert!(transactions.turn(origin).is_err());
    }
}
