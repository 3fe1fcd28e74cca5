//! Joining a room through a server that is in it: `make_join`, `send_join`.

use std::sync::Arc;

use events::{BuildError, Pdu, RoomVersion, TemplateExpectation};
use ruma::{OwnedEventId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;

use super::worse;
use crate::{
    Error, JoinRequest,
    membership::join_content,
    ports::{Handshake, RemoteError, SentJoin},
    receive::FoundRoom,
    rooms::Inner,
};

impl Inner {
    /// Asks one server after the other. Durable on return.
    pub(crate) async fn join_remotely(&self, request: &JoinRequest<'_>) -> Result<(), Error> {
        let candidates = self.candidates(request.room_id, request.user, &request.via).await?;
        if request.guest && !self.is_open_to_guests(request.room_id, &candidates).await {
            return Err(Error::GuestsForbidden);
        }
        let mut reason = None;
        for server in &candidates {
            match self.join_through(server, request).await {
                Ok(()) if request.guest => return self.confirm_guest(request).await,
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

    /// What the first server says that says anything: whether a guest may come in is in the state,
    /// which nobody hands out before the guest is in.
    async fn is_open_to_guests(&self, room: &RoomId, candidates: &[OwnedServerName]) -> bool {
        #[derive(Deserialize)]
        struct Hierarchy {
            room: Summary,
        }
        #[derive(Deserialize)]
        struct Summary {
            #[serde(default)]
            guest_can_join: bool,
        }
        for server in candidates {
            match self.ports.remote.hierarchy(server, room, false).await {
                Ok(found) => {
                    let found: Result<Hierarchy, _> = serde_json::from_str(found.get());
                    return found.is_ok_and(|found| found.room.guest_can_join);
                }
                Err(error) => tracing::debug!(%error, %room, "it does not say who may come in"),
            }
        }
        false
    }

    /// Now that the state is known, it counts.
    async fn confirm_guest(&self, request: &JoinRequest<'_>) -> Result<(), Error> {
        self.put_out_all_guests(request.room_id).await?;
        let view = self.view(request.room_id).await?;
        match view.is_some_and(|view| view.local_joined.contains(request.user)) {
            true => Ok(()),
            false => Err(Error::GuestsForbidden),
        }
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
        self.found_room(found).await.map_err(|error| match error {
            // Another server may give a state that allows the join.
            Error::InvalidRoomState(reason) | Error::Forbidden(reason) => {
                malformed(server, &reason)
            }
            other => other,
        })
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
        let known = self.view(room).await?;
        if known.is_some_and(|view| view.version.as_str() != version.as_str()) {
            return Err(malformed(server, "the room has another version"));
        }
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
                .map_err(|error| match error {
                    // What is large is what the client said.
                    BuildError::TooLarge(reason) => Error::TooLarge(reason),
                    other => malformed(server, &other.to_string()),
                })?;
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
        if events::required_servers(own, version).len() == 1 {
            return Ok(Arc::new(own.clone()));
        }
        let json = sent.event.clone();
        let json = json.ok_or_else(|| malformed(server, "the join is not signed by its server"))?;
        let checked = self.verified(version, own.room_id(), vec![json]).await;
        let pdu = match checked.into_iter().next() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Err(malformed(server, &dropped.reason)),
            None => return Err(Error::Internal("a verdict is missing".to_owned())),
        };
        // The id does not cover all of the content.
        if pdu.event_id() != own.event_id() || pdu.content_str() != own.content_str() {
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
        let checked = self.verified_of(server, version, room, pdus).await;
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
