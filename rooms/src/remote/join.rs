//! Joining a room through a server that is in it: `make_join`, `send_join`.

use std::{collections::HashMap, sync::Arc};

use events::{Pdu, RoomVersion, TemplateExpectation};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::worse;
use crate::{
    Error, JoinRequest,
    membership::join_content,
    ports::{Handshake, RemoteError, SentJoin},
    receive::FoundRoom,
    rooms::Inner,
};

/// Joins under way, by room: a second one waits and finds the room there. Not the room's writer:
/// that one is never held while others are asked.
#[derive(Default)]
pub(crate) struct JoinFlights(Mutex<HashMap<OwnedRoomId, Arc<AsyncMutex<()>>>>);

impl JoinFlights {
    async fn enter(&self, room: &RoomId) -> OwnedMutexGuard<()> {
        let flight = Arc::clone(self.0.lock().entry(room.to_owned()).or_default());
        flight.lock_owned().await
    }

    fn leave(&self, room: &RoomId, guard: OwnedMutexGuard<()>) {
        drop(guard);
        let mut flights = self.0.lock();
        if flights.get(room).is_some_and(|flight| Arc::strong_count(flight) == 1) {
            flights.remove(room);
        }
    }
}

impl Inner {
    /// Durable on return.
    pub(crate) async fn join_remotely(&self, request: &JoinRequest<'_>) -> Result<(), Error> {
        let guard = self.join_flights.enter(request.room_id).await;
        let result = self.join_through_any(request).await;
        self.join_flights.leave(request.room_id, guard);
        result
    }

    async fn join_through_any(&self, request: &JoinRequest<'_>) -> Result<(), Error> {
        let candidates = self.candidates(request.room_id, request.user, &request.via).await?;
        let mut reason = None;
        for server in &candidates {
            match self.join_through(server, request).await {
                Ok(()) => return Ok(()),
                Err(Error::Remote(error)) => {
                    tracing::debug!(%error, room = %request.room_id, "no join through this server");
                    reason = Some(worse(reason, error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(reason.map_or(Error::NotFound("the room"), Error::Remote))
    }

    async fn join_through(
        &self,
        server: &ServerName,
        request: &JoinRequest<'_>,
    ) -> Result<(), Error> {
        let (room, user) = (request.room_id, request.user);
        let content = join_content(request)?.to_raw();
        let made = self.made(server, Handshake::Join, room, user, &content).await?;
        let (pdu, version) = made;
        let remote = &self.ports.remote;
        let sent = remote.send_join(server, room, pdu.event_id(), pdu.json().clone()).await?;
        let join = self.taken_join(server, version, &pdu, &sent).await?;
        let state = self.hold_state(server, version, room, sent).await?;
        let found = FoundRoom { room_id: room.to_owned(), version, join, state };
        self.found_room(found).await
    }

    /// A template of the server, checked, completed and signed.
    pub(super) async fn made(
        &self,
        server: &ServerName,
        handshake: Handshake,
        room: &RoomId,
        user: &ruma::UserId,
        content: &serde_json::value::RawValue,
    ) -> Result<(Pdu, &'static RoomVersion), Error> {
        let versions: Vec<&'static str> = RoomVersion::all().map(RoomVersion::as_str).collect();
        let remote = &self.ports.remote;
        let template = remote.make(server, handshake, room, user, &versions).await?;
        let version = RoomVersion::parse(&template.room_version)
            .ok_or_else(|| malformed(server, "the room's version is not one that was offered"))?;
        let expected = TemplateExpectation {
            room_id: room,
            user,
            membership: match handshake {
                Handshake::Join => "join",
                Handshake::Leave => "leave",
                Handshake::Knock => "knock",
            },
            content: Some(content),
        };
        let now = self.clock.now_ms();
        let name = &self.server_name;
        let pdu =
            events::complete_template(&template.event, &expected, now, &self.key, name, version)
                .map_err(|error| malformed(server, &error.to_string()))?;
        Ok((pdu, version))
    }

    /// Our join as the room has it: with the signature of who let the user in, if that was needed.
    async fn taken_join(
        &self,
        server: &ServerName,
        version: &'static RoomVersion,
        own: &Pdu,
        sent: &SentJoin,
    ) -> Result<Arc<Pdu>, Error> {
        let json = sent.event.clone().unwrap_or_else(|| own.json().clone());
        let checked = self.verified(version, own.room_id(), vec![json]).await;
        let pdu = match checked.into_iter().next() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Err(malformed(server, &dropped.reason)),
            None => return Err(Error::Internal("a verdict is missing".to_owned())),
        };
        if pdu.event_id() != own.event_id() {
            return Err(malformed(server, "the join is another event than the one sent"));
        }
        Ok(pdu)
    }

    /// Checks and keeps the state and what authorises it. Returns the ids of the state.
    async fn hold_state(
        &self,
        server: &ServerName,
        version: &'static RoomVersion,
        room: &RoomId,
        sent: SentJoin,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let state_len = sent.state.len();
        let pdus = sent.state.into_iter().chain(sent.auth_chain).collect();
        let checked = self.verified(version, room, pdus).await;
        let mut state = Vec::with_capacity(state_len);
        let mut events = Vec::with_capacity(checked.len());
        for (index, checked) in checked.into_iter().enumerate() {
            match checked {
                Ok(pdu) => {
                    if index < state_len {
                        state.push(pdu.event_id().clone());
                    }
                    events.push(pdu);
                }
                // One bad event in ten thousand must not keep a user out.
                Err(dropped) => {
                    tracing::debug!(%server, event_id = ?dropped.event_id, reason = dropped.reason,
                        "an event of a join's answer is left out");
                }
            }
        }
        self.hold_outliers(version, events).await?;
        Ok(state)
    }
}

pub(super) fn malformed(server: &ServerName, reason: &str) -> Error {
    let server: OwnedServerName = server.to_owned();
    Error::Remote(RemoteError::Malformed { server, reason: reason.to_owned() })
}
