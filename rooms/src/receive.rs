//! An event of another server arrives: "Checks performed on receipt of a PDU", server-server API.
//!
//! One file per step, in order: format, signatures, hash, auth events, state before, current state,
//! policy server. What is missing is fetched before the room's writer is taken (`gap.rs`,
//! `outliers.rs`); under it the event is judged and committed (`take.rs`).

mod auth_events;
mod copies;
mod current_state;
mod format;
mod found;
mod gap;
mod gap_state;
mod hash;
mod heal;
mod order;
mod outliers;
mod policy_server;
mod signatures;
mod state_before;
mod take;

use std::sync::Arc;

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName};

pub(crate) use self::{
    found::FoundRoom,
    order::foundations_first,
    outliers::{side_event, side_record},
    take::Strictness,
};
use crate::{Error, RoomView, Rooms, draft::Relay, rooms::Inner};
use gap::{Arrival, Budget};

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Accepted,
    /// Kept, not shown: the current state does not allow it.
    SoftFailed(String),
    /// Kept, not shown: its auth events, or the state before it, do not allow it.
    Rejected(String),
    /// It came before; nothing changed.
    Known,
}

/// Why nothing was kept of an event. The server that sent it may send it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Format, signatures or hashes are not those of an event of this room, or it is not taken from
    /// that server.
    #[error("{0}")]
    Dropped(String),
    /// No user of this server is in the room.
    #[error("this server is not in the room")]
    UnknownRoom,
    /// What the event builds on is not known and could not be had.
    #[error("{0}")]
    MissingContext(String),
    #[error("the disk is nearly full; nothing can be written")]
    LowSpace,
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<Error> for ReceiveError {
    fn from(error: Error) -> Self {
        match error {
            Error::LowSpace => Self::LowSpace,
            Error::Internal(reason) => Self::Internal(reason),
            // Not our trouble: it would be the same the next time.
            other => Self::Dropped(other.to_string()),
        }
    }
}

/// An event that is to be forgotten, and why.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    /// If it could be read so far.
    pub(crate) event_id: Option<OwnedEventId>,
    pub(crate) reason: String,
    /// If it is for its signatures: the sender's server, which may have it with right ones.
    pub(crate) copy_at: Option<OwnedServerName>,
}

impl From<Dropped> for ReceiveError {
    fn from(dropped: Dropped) -> Self {
        Self::Dropped(dropped.reason)
    }
}

/// A verdict on one of several events.
#[derive(Debug)]
pub struct Outcome {
    /// `None` if the event was too broken to have an id.
    pub event_id: Option<OwnedEventId>,
    pub result: Result<Received, ReceiveError>,
}

impl Rooms {
    /// Takes events of one room from `origin`, the oldest first. Each has its own verdict; all that
    /// were accepted, or known before, are durable on return.
    pub async fn receive(
        &self,
        origin: &ServerName,
        room: &RoomId,
        pdus: Vec<Bytes>,
    ) -> Vec<Outcome> {
        let inner = &*self.inner;
        let view = match inner.resident_view(room).await {
            Ok(view) => view,
            Err(error) => return all_fail(pdus.len(), &error.into()),
        };
        let Some(view) = view else { return inner.receive_outside(room, pdus).await };
        match inner.allows_server(origin, view.state).await {
            Ok(true) => {}
            Ok(false) => return denied(view.version, room, pdus),
            Err(error) => return all_fail(pdus.len(), &error.into()),
        }
        let mut outcomes = Vec::with_capacity(pdus.len());
        let mut events = Vec::with_capacity(pdus.len());
        for checked in inner.verified(view.version, room, pdus).await {
            match checked {
                Ok(pdu) => events.push(pdu),
                Err(dropped) => outcomes.push(Outcome {
                    event_id: dropped.event_id.clone(),
                    result: Err(dropped.into()),
                }),
            }
        }
        events.sort_by_key(|pdu| pdu.depth());
        let mut budget = Budget::default();
        for pdu in events {
            let event_id = Some(pdu.event_id().clone());
            let result = inner.receive_in_turn(origin, &view, pdu, &mut budget).await;
            outcomes.push(Outcome { event_id, result });
        }
        for submitted in budget.submitted {
            if let Err(error) = submitted.durable(inner).await {
                return all_fail(outcomes.len(), &error.into());
            }
        }
        // What somebody else brought may still be on its way to the disk.
        if outcomes.iter().any(|outcome| matches!(outcome.result, Ok(Received::Known)))
            && let Err(error) = inner.store.barrier().wait().await
        {
            return all_fail(outcomes.len(), &Error::from(error).into());
        }
        if let Err(error) = inner.put_out_guests(room, view.state).await {
            tracing::warn!(%error, %room, "guests could not be put out of a room");
        }
        if let Err(error) = inner.heal(room).await {
            tracing::warn!(%error, %room, "the branches of a room could not be joined");
        }
        outcomes
    }
}

/// Nothing is taken from a server that the room's access control list denies, whoever made it.
fn denied(version: &'static RoomVersion, room: &RoomId, pdus: Vec<Bytes>) -> Vec<Outcome> {
    let reason = "the room's access control list denies your server";
    let deny = |json| Outcome {
        event_id: match format::check(json, room, version) {
            Ok(pdu) => Some(pdu.event_id().clone()),
            Err(dropped) => dropped.event_id,
        },
        result: Err(ReceiveError::Dropped(reason.to_owned())),
    };
    pdus.into_iter().map(deny).collect()
}

fn all_fail(count: usize, error: &ReceiveError) -> Vec<Outcome> {
    let fail = || Outcome { event_id: None, result: Err(error.clone()) };
    std::iter::repeat_with(fail).take(count).collect()
}

impl Inner {
    /// Steps 1 to 3 for events of one room, in the order given: format, signatures, hash. One bad
    /// event never fails another.
    pub(crate) async fn verified(
        &self,
        version: &'static RoomVersion,
        room: &RoomId,
        pdus: Vec<Bytes>,
    ) -> Vec<Result<Arc<Pdu>, Dropped>> {
        let parsed = pdus.into_iter().map(|json| format::check(json, room, version)).collect();
        let signed = self.check_signatures(version, parsed).await;
        signed
            .into_iter()
            .map(|checked| checked.map(|pdu| Arc::new(hash::check_or_redact(pdu, version))))
            .collect()
    }

    /// What is missing before an event is asked for once; who comes after it meanwhile waits.
    async fn receive_in_turn(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: Arc<Pdu>,
        budget: &mut Budget,
    ) -> Result<Received, ReceiveError> {
        let _flight = if self.has_gap(&pdu).await? {
            Some(self.gap_flights.enter(&(origin.to_owned(), view.room_id.clone())).await)
        } else {
            None
        };
        self.receive(origin, view, pdu, Arrival::Sent, budget).await
    }

    /// Steps 4 to 7 for an event that is verified.
    async fn receive(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: Arc<Pdu>,
        arrival: Arrival,
        budget: &mut Budget,
    ) -> Result<Received, ReceiveError> {
        if self.has_judged(pdu.event_id()).await? {
            return Ok(Received::Known);
        }
        let gap_state = self.fetch_context(origin, view, &pdu, arrival, budget).await?;
        let pdu = self.ask_policy(view, pdu, budget).await?;
        let taken =
            self.take(&view.room_id, pdu, gap_state, Relay::Nobody, Strictness::Keep).await?;
        budget.submitted.extend(taken.submitted);
        Ok(taken.verdict)
    }

    /// Whether the event has been through the checks before. An outlier has only been through some
    /// of them.
    pub(crate) async fn has_judged(&self, id: &EventId) -> Result<bool, Error> {
        let event = self.events.get_latest(id).await?;
        Ok(event.is_some_and(|event| event.was_judged()))
    }
}
