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
/// Of more branches that are missing, one state stands for all: each costs a request.
const BRANCHES_MAX: usize = 5;

impl Inner {
    /// As part of reading history: the state before an event, from a server that has it.
    pub(crate) async fn state_before_from(
        &self,
        server: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
    ) -> Result<Root, ReceiveError> {
        let budget = &mut Budget::default();
        let told = self.told_state(server, view, pdu, Arrival::Missed, budget).await?;
        let roots = match told {
            Some(ids) => vec![self.told_root(server, view, pdu, ids).await?],
            None => self.states_after_missing(server, view, pdu, budget).await?,
        };
        Ok(self.resolved(view.version, roots).await?)
    }

    /// The states that stand for the events which are missing before this one, as `origin` has them;
    /// they are to be resolved with those of the events that are known.
    ///
    /// If all are missing, that is the state before the event. If some are known it is the state
    /// after each that is missing: in the state before the event the branches are resolved already,
    /// and what one branch alone disagreed about is no conflict any more, so that resolving it once
    /// more with the known branches can end elsewhere than on servers that know them all.
    pub(super) async fn states_across_gap(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        arrival: Arrival,
        budget: &mut Budget,
    ) -> Result<Vec<Root>, ReceiveError> {
        let Some(ids) = self.told_state(origin, view, pdu, arrival, budget).await? else {
            return self.states_after_missing(origin, view, pdu, budget).await;
        };
        let missing = self.missing_before(view, pdu).await?.len();
        if missing < pdu.prev_events().len() && missing <= BRANCHES_MAX {
            match self.states_after_missing(origin, view, pdu, budget).await {
                Err(ReceiveError::MissingContext(reason)) => {
                    tracing::debug!(reason, event_id = %pdu.event_id(), "one state for all");
                }
                other => return other,
            }
        }
        Ok(vec![self.told_root(origin, view, pdu, ids).await?])
    }

    /// The state before the event as `origin` has it. `None` if it does not say; then that after
    /// each event which is missing before this one may be asked for, unless the server hid those
    /// when it sent this: who shows no event must not say what the state is there.
    async fn told_state(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        arrival: Arrival,
        budget: &mut Budget,
    ) -> Result<Option<StateIds>, ReceiveError> {
        budget.spend_context()?;
        match self.ports.remote.state_ids(origin, &view.room_id, pdu.event_id()).await {
            Ok(ids) => Ok(Some(ids)),
            Err(RemoteError::Refused { .. }) if arrival == Arrival::Missed => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    }

    async fn told_root(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        ids: StateIds,
    ) -> Result<Root, ReceiveError> {
        let state = self.fetch_state(origin, view, pdu.event_id(), ids, &[]).await?;
        Ok(self.new_root(state)?)
    }

    async fn missing_before(&self, view: &RoomView, pdu: &Pdu) -> Result<Vec<OwnedEventId>, Error> {
        let mut missing = Vec::new();
        for id in pdu.prev_events() {
            if !self.has_place(&view.room_id, id).await? {
                missing.push(id.clone());
            }
        }
        Ok(missing)
    }

    async fn states_after_missing(
        &self,
        origin: &ServerName,
        view: &RoomView,
        pdu: &Pdu,
        budget: &mut Budget,
    ) -> Result<Vec<Root>, ReceiveError> {
        let mut roots = Vec::new();
        for missing in self.missing_before(view, pdu).await? {
            roots.push(self.state_after_missing(origin, view, &missing, budget).await?);
        }
        Ok(roots)
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
