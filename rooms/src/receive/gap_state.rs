//! The state where history is missing: as another server has it, made of events that are checked
//! like all others.

use events::{Pdu, StateMap};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use super::{
    ReceiveError,
    gap::{Arrival, Budget, STATE_MAX, unreachable},
};
use crate::{
    Error, EventStatus, RoomView, Root,
    ports::{RemoteError, StateIds},
    rooms::Inner,
};

/// Single events are asked for up to this many; beyond it the whole state is.
const SINGLES_MAX: usize = 50;

impl Inner {
    /// As part of reading history: the state before an event, from a server that has it.
    pub(crate) async fn state_before_from(
        &self,
        server: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
    ) -> Result<Root, ReceiveError> {
        self.state_across_gap(server, view, pdu, Arrival::Missed, &mut Budget::default()).await
    }

    /// The state before the event as `origin` has it. If it does not say, that after each event
    /// which is missing before this one, unless the server hid those when it sent this: who shows
    /// no event must not say what the state is there.
    pub(super) async fn state_across_gap(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        arrival: Arrival,
        budget: &mut Budget,
    ) -> Result<Root, ReceiveError> {
        budget.spend_context()?;
        let (room, at) = (&view.room_id, pdu.event_id());
        match self.ports.remote.state_ids(origin, room, at).await {
            Ok(ids) => {
                let state = self.fetch_state(origin, view, at, ids, &[]).await?;
                Ok(self.new_root(state)?)
            }
            Err(RemoteError::Refused { .. }) if arrival == Arrival::Missed => {
                let mut roots = Vec::new();
                for missing in pdu.prev_events() {
                    if !self.has_place(room, missing).await? {
                        roots.push(self.state_after_missing(origin, view, missing, budget).await?);
                    }
                }
                Ok(self.resolved(view.version, roots).await?)
            }
            Err(error) => Err(unreachable(error)),
        }
    }

    /// The state after an event that has no place in history here, and gets none by this.
    async fn state_after_missing(
        &self,
        origin: &ServerName,
        view: &RoomView,
        missing: &OwnedEventId,
        budget: &mut Budget,
    ) -> Result<Root, ReceiveError> {
        budget.spend_context()?;
        let (room, remote) = (&view.room_id, &self.ports.remote);
        let ids = remote.state_ids(origin, room, missing).await.map_err(unreachable)?;
        let with = std::slice::from_ref(missing);
        let mut state = self.fetch_state(origin, view, missing, ids, with).await?;
        let event = self.events.get_latest(missing).await?;
        let event = event.filter(|event| event.pdu.room_id() == room).ok_or_else(|| {
            ReceiveError::MissingContext(format!("{missing}, before it, is not given"))
        })?;
        // "its effect is not included in the state": of a rejected event.
        if let Some(key) = event.pdu.state_key()
            && event.status != EventStatus::Rejected
        {
            state.insert((event.pdu.event_type().to_owned(), key.to_owned()), missing.clone());
        }
        Ok(self.new_root(state)?)
    }

    /// The state before the event `at`, after what makes it, what authorises that, and the events
    /// in `with` were fetched.
    async fn fetch_state(
        &self,
        origin: &ServerName,
        view: &RoomView,
        at: &EventId,
        ids: StateIds,
        with: &[OwnedEventId],
    ) -> Result<StateMap, ReceiveError> {
        let remote = &self.ports.remote;
        if ids.state.len() + ids.auth_chain.len() > STATE_MAX {
            return Err(ReceiveError::MissingContext(
                "the state before it is too large".to_owned(),
            ));
        }
        let unknown = self.unknown(ids.state.iter().chain(&ids.auth_chain).chain(with)).await?;
        let found = if unknown.len() <= SINGLES_MAX {
            self.fetch_single(origin, view, unknown).await.map_err(unreachable)?
        } else {
            let full = remote.state(origin, &view.room_id, at).await.map_err(unreachable)?;
            let pdus = full.auth_chain.into_iter().chain(full.state).collect();
            let mut found = self.usable(origin, view, pdus, STATE_MAX).await;
            let with = self.unknown(with.iter()).await?;
            found.extend(self.fetch_single(origin, view, with).await.map_err(unreachable)?);
            found
        };
        self.hold_outliers(view.version, found).await?;
        let state = self.state_of(&view.room_id, &ids.state).await?;
        if state.is_empty() {
            return Err(ReceiveError::MissingContext("nothing before it can be had".to_owned()));
        }
        Ok(state)
    }

    /// The state that these events of the room make; those that are not known or were rejected are
    /// left out.
    pub(crate) async fn state_of(
        &self,
        room: &RoomId,
        ids: &[OwnedEventId],
    ) -> Result<StateMap, Error> {
        let mut state = StateMap::new();
        for id in ids {
            let Some(event) = self.events.get_latest(id).await? else {
                tracing::warn!(event_id = %id, "an event of a state could not be had");
                continue;
            };
            if event.status == EventStatus::Rejected || event.pdu.room_id() != room {
                continue;
            }
            if let Some(state_key) = event.pdu.state_key() {
                let key = (event.pdu.event_type().to_owned(), state_key.to_owned());
                state.insert(key, id.clone());
            }
        }
        Ok(state)
    }
}
