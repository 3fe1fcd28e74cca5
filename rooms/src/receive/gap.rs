//! What an event builds on and this server does not have: fetched from whoever sent the event,
//! within bounds.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use events::Pdu;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use super::{Dropped, ReceiveError};
use crate::{
    Error, RoomView, Root,
    commit::Submitted,
    ports::{MissingEvents, RemoteError},
    rooms::Inner,
};

/// Events asked for in one `get_missing_events`.
const PAGE: usize = 20;
const AT_ONCE: usize = 8;
/// State and auth chain of one event.
pub(super) const STATE_MAX: usize = 400_000;
/// Auth chain of an event of a room that this server is in, and so knows nearly all of. Of a longer
/// one the event's own auth events are asked for one by one, as far as they are missing then.
const CHAIN_MAX: usize = 10_000;

/// How an event came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Its server sent it. What it comes right after is asked for, and believed, from nobody else
    /// than those who show it.
    Sent,
    /// It was asked for, as part of a gap.
    Missed,
}

/// What the events of one call may cost. Each kind has its own bound: where a gap is too large to be
/// filled, there must be something left to learn the state after it.
pub(super) struct Budget {
    /// `get_missing_events`
    pages: u32,
    /// Events out of those.
    events: usize,
    /// Auth events of an event, or the state before it.
    contexts: u32,
    /// Events that a policy server is asked about.
    policy: u32,
    /// Accepted and on their way to the disk.
    pub(super) submitted: Vec<Submitted>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { pages: 10, events: 200, contexts: 20, policy: 50, submitted: Vec::new() }
    }
}

impl Budget {
    fn spend_page(&mut self) -> bool {
        let left = self.pages.checked_sub(1);
        self.pages = left.unwrap_or_default();
        left.is_some()
    }

    pub(super) fn spend_policy(&mut self) -> bool {
        let left = self.policy.checked_sub(1);
        self.policy = left.unwrap_or_default();
        left.is_some()
    }

    pub(super) fn end_policy(&mut self) {
        self.policy = 0;
    }

    pub(super) fn spend_context(&mut self) -> Result<(), ReceiveError> {
        let left = self.contexts.checked_sub(1);
        let too_much = || ReceiveError::MissingContext("too much is missing before it".to_owned());
        self.contexts = left.ok_or_else(too_much)?;
        Ok(())
    }
}

impl Inner {
    /// Fetches what comes before the event, and its auth events. Returns the states that
    /// stand for what is still missing, none if nothing is.
    pub(super) async fn fetch_context(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Arc<Pdu>,
        arrival: Arrival,
        budget: &mut Budget,
    ) -> Result<Vec<Root>, ReceiveError> {
        if self.has_gap(pdu).await? {
            Box::pin(self.fill_gap(origin, view, pdu, budget)).await?;
        }
        self.fetch_auth_events(origin, view, pdu, budget).await?;
        if self.has_gap(pdu).await? {
            return self.states_across_gap(origin, view, pdu, arrival, budget).await;
        }
        Ok(Vec::new())
    }

    /// Whether something that comes right before the event has no place in the room's history. What
    /// has one in another room has none in this.
    pub(crate) async fn has_gap(&self, pdu: &Pdu) -> Result<bool, Error> {
        for id in pdu.prev_events() {
            if !self.has_place(pdu.room_id(), id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn has_place(&self, room: &RoomId, id: &EventId) -> Result<bool, Error> {
        let event = self.events.get_latest(id).await?;
        Ok(event.is_some_and(|event| event.was_judged() && event.pdu.room_id() == room))
    }

    async fn fill_gap(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        if !budget.spend_page() {
            return Ok(());
        }
        let current = self.view(&view.room_id).await?;
        let earliest = current.map_or_else(Vec::new, |view| view.extremities.clone());
        let latest = vec![pdu.event_id().clone()];
        let request = MissingEvents { earliest, latest, limit: PAGE, min_depth: 0 };
        let answer = self.ports.remote.missing_events(origin, &view.room_id, request).await;
        let found = match answer {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, event_id = %pdu.event_id(), "its ancestors were not given");
                return Ok(());
            }
        };
        let mut events = self.usable(origin, view, found, PAGE).await;
        events.sort_by_key(|event| event.depth());
        for event in events {
            let Some(left) = budget.events.checked_sub(1) else { break };
            budget.events = left;
            let event_id = event.event_id().clone();
            match Box::pin(self.receive(origin, view, event, Arrival::Missed, budget)).await {
                Ok(_) => {}
                Err(ReceiveError::LowSpace) => return Err(ReceiveError::LowSpace),
                Err(error) => tracing::debug!(%error, %event_id, "an ancestor is left out"),
            }
        }
        Ok(())
    }

    async fn fetch_auth_events(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        if self.unknown(pdu.auth_events().iter()).await?.is_empty() {
            return Ok(());
        }
        budget.spend_context()?;
        let answer = self.ports.remote.event_auth(origin, &view.room_id, pdu.event_id()).await;
        if let Ok(chain) = answer {
            let chain = self.usable(origin, view, chain, CHAIN_MAX).await;
            self.hold_outliers(view.version, beneath(pdu, chain)).await?;
        }
        let missing = self.unknown(pdu.auth_events().iter()).await?;
        if missing.is_empty() {
            return Ok(());
        }
        budget.spend_context()?;
        let found = self.fetch_single(origin, view, missing).await.map_err(unreachable)?;
        self.hold_outliers(view.version, found).await?;
        match self.unknown(pdu.auth_events().iter()).await?.first() {
            None => Ok(()),
            Some(id) => Err(ReceiveError::MissingContext(format!("auth event {id} is not known"))),
        }
    }

    /// As part of reading history: the auth events of an event, from a server that has it.
    pub(crate) async fn fetch_auth_of(
        &self,
        server: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
    ) -> Result<(), ReceiveError> {
        self.fetch_auth_events(server, view, pdu, &mut Budget::default()).await
    }

    /// What the server does not have, or does not give, is left out. Fails if it does not answer.
    pub(super) async fn fetch_single(
        &self,
        origin: &ServerName,
        view: &RoomView,
        ids: Vec<OwnedEventId>,
    ) -> Result<Vec<Arc<Pdu>>, RemoteError> {
        let fetch = |id: OwnedEventId| async move {
            match self.ports.remote.event(origin, &id).await {
                Ok(pdu) => Ok(Some(pdu)),
                Err(error @ RemoteError::Unreachable { .. }) => Err(error),
                Err(error) => {
                    tracing::debug!(%error, event_id = %id, "not given");
                    Ok(None)
                }
            }
        };
        let found: Vec<Option<Bytes>> =
            stream::iter(ids).map(fetch).buffer_unordered(AT_ONCE).try_collect().await?;
        let count = found.len();
        Ok(self.usable(origin, view, found.into_iter().flatten().collect(), count).await)
    }

    /// Those of the answer that are events of the room.
    pub(super) async fn usable(
        &self,
        origin: &ServerName,
        view: &RoomView,
        mut pdus: Vec<Bytes>,
        limit: usize,
    ) -> Vec<Arc<Pdu>> {
        pdus.truncate(limit);
        let checked = self.verified_of(origin, view.version, &view.room_id, pdus).await;
        let log = |dropped: &Dropped| {
            tracing::debug!(event_id = ?dropped.event_id, reason = dropped.reason, "dropped");
        };
        checked.into_iter().filter_map(|event| event.inspect_err(log).ok()).collect()
    }
}

pub(super) fn unreachable(error: RemoteError) -> ReceiveError {
    ReceiveError::MissingContext(error.to_string())
}

/// Those of the events that the event stands on, directly or by way of others. A server may add
/// whatever it has signed, and none of that is to be kept.
fn beneath(pdu: &Pdu, chain: Vec<Arc<Pdu>>) -> Vec<Arc<Pdu>> {
    let mut left: HashMap<OwnedEventId, Arc<Pdu>> =
        chain.into_iter().map(|event| (event.event_id().clone(), event)).collect();
    let mut open = pdu.auth_events().to_vec();
    let mut found = Vec::new();
    while let Some(id) = open.pop() {
        if let Some(event) = left.remove(&id) {
            open.extend_from_slice(event.auth_events());
            found.push(event);
        }
    }
    found
}
