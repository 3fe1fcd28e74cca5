//! The ports of a server, answered by the engines of the others.

use std::sync::Arc;

use bytes::Bytes;
use events::Pdu;
use rooms::{
    Error, Rooms, StoredEvent,
    peers::{IncomingInvite, MissingQuery},
    ports::{
        FullState, Handshake, KeyRequest, KeyRing, MissingEvents, PortFuture, Remote, RemoteAlias,
        RemoteError, RemoteServers, SendInvite, SentJoin, StateIds, Template, TrustedKey,
        TrustedKeys,
    },
};
use ruma::{
    EventId, OwnedEventId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId, api::Direction,
};
use serde_json::{json, value::RawValue, value::to_raw_value};

use super::{Answer, KEY, Wire, policy_key};

/// One server's end of the network.
pub(super) struct Caller {
    pub(super) wire: Wire,
    pub(super) from: OwnedServerName,
}

impl Caller {
    /// Asks, waits at the gate if there is one, and lets the test alter the answer.
    async fn ask<T>(
        &self,
        call: &'static str,
        server: &ServerName,
        ask: impl AsyncFnOnce(Rooms) -> Result<T, Error>,
    ) -> Result<T, RemoteError> {
        self.wire.0.lock().calls.push((call, server.to_owned()));
        let engine = self.wire.engine(&self.from, server);
        let unreachable = || RemoteError::Unreachable {
            server: server.to_owned(),
            reason: "it is down".to_owned(),
        };
        let answer = ask(engine.ok_or_else(unreachable)?).await;
        let gate = self.wire.0.lock().gates.get(call).cloned();
        if let Some(gate) = gate {
            gate.reached.add_permits(1);
            gate.open.acquire().await.expect("gates are never closed").forget();
        }
        answer.map_err(|error| refusal(server, &error))
    }

    fn check_state_at(&self, event: &EventId) -> Result<(), Error> {
        let is_hidden = self.wire.0.lock().stateless.contains(event);
        if is_hidden { Err(Error::NotFound("the state")) } else { Ok(()) }
    }

    fn alter(&self, server: &ServerName, mut answer: Answer) -> Answer {
        let mischief = self.wire.0.lock().mischief.get(server).cloned();
        if let Some(mischief) = mischief {
            mischief(&mut answer);
        }
        answer
    }
}

/// As the edge of a server words it.
fn refusal(server: &ServerName, error: &Error) -> RemoteError {
    let (status, errcode) = match error {
        Error::NotFound(_) => (404, "M_NOT_FOUND"),
        Error::Forbidden(_) | Error::NotJoined => (403, "M_FORBIDDEN"),
        Error::UnableToGrantJoin => (400, "M_UNABLE_TO_GRANT_JOIN"),
        Error::IncompatibleRoomVersion(_) => (400, "M_INCOMPATIBLE_ROOM_VERSION"),
        _ => (400, "M_UNKNOWN"),
    };
    let (errcode, message) = (errcode.to_owned(), error.to_string());
    let room_version = match error {
        Error::IncompatibleRoomVersion(version) => Some(version.clone()),
        _ => None,
    };
    RemoteError::Refused { server: server.to_owned(), status, errcode, message, room_version }
}

fn pdus(events: &[Arc<StoredEvent>]) -> Vec<Bytes> {
    events.iter().map(|event| event.pdu.json().clone()).collect()
}

fn ids(events: &[Arc<StoredEvent>]) -> Vec<OwnedEventId> {
    events.iter().map(|event| event.event_id().clone()).collect()
}

impl KeyRing for Caller {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        let state = self.wire.0.lock();
        let keys = wanted.into_iter().filter_map(|request| {
            let key = *state.keys.get(&request.server)?;
            let is_known = request.key_id == format!("ed25519:{KEY}");
            let key = TrustedKey { key, valid_until: u64::MAX };
            is_known.then_some(((request.server, request.key_id), key))
        });
        let keys = keys.collect();
        Box::pin(std::future::ready(keys))
    }
}

/// A port's function: its answer passes through the test's hands.
macro_rules! answered {
    ($self:ident, $call:literal, $server:ident, $kind:ident, $ask:expr) => {
        Box::pin(async move {
            let answer = $self.ask($call, $server, $ask).await?;
            match $self.alter($server, Answer::$kind(answer)) {
                Answer::$kind(answer) => Ok(answer),
                other => panic!("{other:?} is no answer to {}", $call),
            }
        })
    };
}

impl RemoteServers for Caller {
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        request: MissingEvents,
    ) -> Remote<'a, Vec<Bytes>> {
        let MissingEvents { earliest, latest, limit, min_depth } = request;
        let query = MissingQuery { earliest, latest, limit, min_depth };
        answered!(self, "missing_events", server, Missing, async |peer: Rooms| {
            peer.peer_missing_events(&self.from, room, query).await
        })
    }

    fn event<'a>(&'a self, server: &'a ServerName, event: &'a EventId) -> Remote<'a, Bytes> {
        answered!(self, "event", server, Event, async |peer: Rooms| {
            peer.peer_event(&self.from, event).await
        })
    }

    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, Vec<Bytes>> {
        answered!(self, "event_auth", server, EventAuth, async |peer: Rooms| {
            match peer.peer_event_auth(&self.from, room, event).await {
                // A server that lies has something to say of what it does not have, too.
                Err(Error::NotFound("the event")) => Ok(Vec::new()),
                other => other,
            }
        })
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, StateIds> {
        answered!(self, "state_ids", server, StateIds, async |peer: Rooms| {
            self.check_state_at(event)?;
            let state = peer.peer_state(&self.from, room, event).await?;
            Ok(StateIds { state: ids(&state.state), auth_chain: ids(&state.auth_chain) })
        })
    }

    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, FullState> {
        answered!(self, "state", server, State, async |peer: Rooms| {
            self.check_state_at(event)?;
            let state = peer.peer_state(&self.from, room, event).await?;
            Ok(FullState { state: pdus(&state.state), auth_chain: pdus(&state.auth_chain) })
        })
    }

    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Remote<'a, Vec<Bytes>> {
        answered!(self, "backfill", server, Backfilled, async |peer: Rooms| {
            peer.peer_backfill(&self.from, room, from, limit).await
        })
    }

    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        ts: u64,
        backward: bool,
    ) -> Remote<'a, (OwnedEventId, u64)> {
        let dir = if backward { Direction::Backward } else { Direction::Forward };
        Box::pin(async move {
            let ask =
                async |peer: Rooms| peer.peer_timestamp_to_event(&self.from, room, ts, dir).await;
            self.ask("timestamp_to_event", server, ask).await
        })
    }

    fn make<'a>(
        &'a self,
        server: &'a ServerName,
        handshake: Handshake,
        room: &'a RoomId,
        user: &'a UserId,
        versions: &'a [&'static str],
    ) -> Remote<'a, Template> {
        answered!(self, "make", server, Made, async |peer: Rooms| {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            let made = peer.peer_make(&self.from, handshake, room, user, &versions).await?;
            Ok(Template { room_version: made.room_version.to_owned(), event: made.event })
        })
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, SentJoin> {
        answered!(self, "send_join", server, Joined, async |peer: Rooms| {
            let answer = peer.peer_join(&self.from, room, event, pdu).await?;
            Ok(SentJoin {
                event: Some(answer.event),
                state: pdus(&answer.state.state),
                auth_chain: pdus(&answer.state.auth_chain),
                servers_in_room: answer.servers_in_room,
                members_omitted: answer.members_omitted,
            })
        })
    }

    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, ()> {
        Box::pin(async move {
            let ask = async |peer: Rooms| peer.peer_leave(&self.from, room, event, pdu).await;
            self.ask("send_leave", server, ask).await?;
            self.alter(server, Answer::Left);
            Ok(())
        })
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, Vec<Bytes>> {
        answered!(self, "send_knock", server, Knocked, async |peer: Rooms| {
            peer.peer_knock(&self.from, room, event, pdu).await
        })
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        invite: SendInvite,
    ) -> Remote<'a, Bytes> {
        answered!(self, "invite", server, Invited, async |peer: Rooms| {
            let incoming = IncomingInvite {
                room_id: room,
                event_id: event,
                room_version: &invite.room_version,
                event: invite.event.clone(),
                stripped_state: invite.stripped_state.clone(),
                via: invite.via.clone(),
            };
            peer.peer_invite(&self.from, incoming).await
        })
    }

    fn directory<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> Remote<'a, RemoteAlias> {
        Box::pin(async move {
            let ask = async |peer: Rooms| {
                let found = peer.find_alias(alias).await?;
                let (room_id, servers) = found.ok_or(Error::NotFound("the alias"))?;
                Ok(RemoteAlias { room_id, servers })
            };
            self.ask("directory", server, ask).await
        })
    }

    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        suggested_only: bool,
    ) -> Remote<'a, Box<RawValue>> {
        Box::pin(async move {
            let ask =
                async |peer: Rooms| peer.peer_hierarchy(&self.from, room, suggested_only).await;
            let found = self.ask("hierarchy", server, ask).await?;
            let summary = found.room;
            let room = json!({
                "room_id": summary.room.room_id,
                "name": summary.room.name,
                "join_rule": summary.room.join_rule,
                "num_joined_members": summary.room.num_joined_members,
                "room_version": summary.room_version,
                "guest_can_join": summary.room.guest_can_join,
            });
            let body = json!({ "room": room });
            Ok(to_raw_value(&body).expect("JSON"))
        })
    }

    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        _request: Box<RawValue>,
    ) -> Remote<'a, Box<RawValue>> {
        let reason = "no part of the network".to_owned();
        let error = RemoteError::Unreachable { server: server.to_owned(), reason };
        Box::pin(std::future::ready(Err(error)))
    }

    fn policy_sign<'a>(&'a self, server: &'a ServerName, pdu: Bytes) -> Remote<'a, Box<RawValue>> {
        answered!(self, "policy_sign", server, Recommended, async |peer: Rooms| {
            let room = events::peek(&pdu).ok().and_then(|peeked| peeked.room_id);
            let room = room.ok_or(Error::NotFound("the room"))?;
            let view = peer.room(&room).await?.ok_or(Error::NotFound("the room"))?;
            let pdu = Pdu::from_json(pdu, view.version)
                .map_err(|error| Error::InvalidParam(error.to_string()))?;
            let signature = events::policy_signature(&pdu, &policy_key(), view.version);
            let answer = json!({ server: { "ed25519:policy_server": signature } });
            Ok(to_raw_value(&answer).expect("JSON"))
        })
    }
}
