//! Single events and states: `GET /event`, `/event_auth`, `/state`, `/state_ids`,
//! `/timestamp_to_event`.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, RoomId, ServerName, api::Direction};

use super::sight::ServerSight;
use crate::{Error, EventStatus, Rooms, Root, StoredEvent};

/// The state before an event, and what authorises it.
#[derive(Clone, Debug, Default)]
pub struct PeerState {
    pub state: Vec<Arc<StoredEvent>>,
    pub auth_chain: Vec<Arc<StoredEvent>>,
}

impl Rooms {
    /// A PDU; redacted if the server may not see it.
    pub async fn peer_event(&self, server: &ServerName, event: &EventId) -> Result<Bytes, Error> {
        const NOT_FOUND: Error = Error::NotFound("the event");
        let event = self.inner.events.get(event).await?.ok_or(NOT_FOUND)?;
        let room = event.pdu.room_id();
        match self.inner.shared_room(server, room).await {
            // Whether the event exists is told to those in its room.
            Err(Error::NotFound(_) | Error::Forbidden(_)) => return Err(NOT_FOUND),
            other => drop(other?),
        }
        match event.status {
            EventStatus::Accepted | EventStatus::SoftFailed => {
                ServerSight::new(&self.inner, server, room).json(&event).await
            }
            // Without it nobody could check what it authorises.
            EventStatus::Outlier => Ok(event.pdu.json().clone()),
            EventStatus::Rejected => Err(NOT_FOUND),
        }
    }

    /// The auth chain of an event, PDUs.
    pub async fn peer_event_auth(
        &self,
        server: &ServerName,
        room: &RoomId,
        event: &EventId,
    ) -> Result<Vec<Bytes>, Error> {
        self.inner.shared_room(server, room).await?;
        let event = self.inner.events.get(event).await?;
        let event = event
            .filter(|event| event.status != EventStatus::Rejected && event.pdu.room_id() == room);
        let event = event.ok_or(Error::NotFound("the event"))?;
        let chain = self.inner.auth_chain(room, std::iter::once(event)).await?;
        Ok(chain.iter().map(|event| event.pdu.json().clone()).collect())
    }

    /// The state before an event.
    pub async fn peer_state(
        &self,
        server: &ServerName,
        room: &RoomId,
        event: &EventId,
    ) -> Result<PeerState, Error> {
        let inner = &*self.inner;
        inner.shared_room(server, room).await?;
        let event = inner.valid_event_in(room, event).await?;
        self.state_with_chain(room, event.state_before).await
    }

    pub(super) async fn state_with_chain(
        &self,
        room: &RoomId,
        root: Root,
    ) -> Result<PeerState, Error> {
        let inner = &*self.inner;
        let entries = inner.trie.entries(root).await?;
        let mut state = Vec::with_capacity(entries.len());
        for entry in entries {
            let event = inner.events.get_latest(&entry.event_id).await?;
            let missing = || Error::Internal(format!("{} is not in the store", entry.event_id));
            state.push(event.ok_or_else(missing)?);
        }
        let auth_chain = inner.auth_chain(room, state.iter().cloned()).await?;
        Ok(PeerState { state, auth_chain })
    }

    /// The event closest to `ts` (milliseconds) and its own time.
    pub async fn peer_timestamp_to_event(
        &self,
        server: &ServerName,
        room: &RoomId,
        ts: u64,
        dir: Direction,
    ) -> Result<(OwnedEventId, u64), Error> {
        self.inner.shared_room(server, room).await?;
        let found = self.inner.nearest_in_time(room, ts, dir).await?;
        let found = found.ok_or(Error::NotFound("an event of that time"))?;
        Ok((found.event_id().clone(), found.pdu.origin_server_ts()))
    }
}

impl ServerSight<'_> {
    /// The PDU as the server may see it. Of those who were erased no server gets more: what it
    /// received before it has.
    pub(super) async fn json(&mut self, event: &StoredEvent) -> Result<Bytes, Error> {
        if self.allows(event).await? && !self.is_erased(event.pdu.sender()).await? {
            Ok(event.pdu.json().clone())
        } else {
            Ok(event.pdu.redacted(event.version).json().clone())
        }
    }
}
