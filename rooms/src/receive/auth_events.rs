//! Step 4: "Passes authorization rules based on the event's auth events, otherwise it is rejected."

use std::sync::Arc;

use events::{AuthError, Pdu, RoomVersion};
use ruma::{EventId, OwnedEventId};

use super::outliers::Held;
use crate::{Error, EventStatus, StoredEvent, draft::AuthState, rooms::Inner};

/// A verdict with its reason.
pub(crate) type Verdict = Result<(), String>;

/// Rules that lack an event to look at have no verdict; whoever asks has made sure that they do not.
pub(super) fn verdict(result: Result<(), AuthError>) -> Result<Verdict, Error> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(AuthError::Forbidden(reason)) => Ok(Err(reason)),
        Err(missing @ AuthError::MissingEvent(_)) => Err(Error::Internal(missing.to_string())),
    }
}

impl Inner {
    /// Needs every auth event of the event to be known, or to be among `held`.
    pub(super) async fn check_auth_events(
        &self,
        version: &RoomVersion,
        pdu: &Pdu,
        held: &Held,
    ) -> Result<Verdict, Error> {
        let mut selected = Vec::with_capacity(pdu.auth_events().len());
        for id in pdu.auth_events() {
            let Some(event) = self.find_with(id, held).await? else {
                return Err(Error::Internal(format!("auth event {id} is not known")));
            };
            if event.pdu.room_id() != pdu.room_id() {
                return Ok(Err(format!("auth event {id} is one of another room")));
            }
            if event.status == EventStatus::Rejected {
                return Ok(Err(format!("auth event {id} was rejected")));
            }
            selected.push(Arc::clone(&event.pdu));
        }
        let auth = AuthState { selected, create: self.implied_create(version, pdu, held).await? };
        verdict(auth.check(version, pdu))
    }

    /// The create event that a version 12 room's id names.
    async fn implied_create(
        &self,
        version: &RoomVersion,
        pdu: &Pdu,
        held: &Held,
    ) -> Result<Option<Arc<Pdu>>, Error> {
        if !version.room_id_is_create_hash() || pdu.event_type() == "m.room.create" {
            return Ok(None);
        }
        let Some(id) = events::room_create_event_id(pdu.room_id()) else { return Ok(None) };
        let event = self.find_with(&id, held).await?;
        Ok(event
            .filter(|event| event.status != EventStatus::Rejected)
            .map(|event| Arc::clone(&event.pdu)))
    }

    async fn find_with(
        &self,
        id: &EventId,
        held: &Held,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        match held.get(id) {
            Some(event) => Ok(Some(Arc::clone(event))),
            None => self.events.get_latest(id).await,
        }
    }

    /// Those of the events that are not known in any way.
    pub(super) async fn unknown<'i>(
        &self,
        ids: impl Iterator<Item = &'i OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let mut unknown = Vec::new();
        for id in ids {
            if self.events.get_latest(id).await?.is_none() {
                unknown.push(id.clone());
            }
        }
        Ok(unknown)
    }
}
