//! The ports of a server, answered by the engines of the others.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use rooms::{
    Error, Rooms,
    peers::{IncomingInvite, MissingQuery},
    ports::{
        FullState, Handshake, KeyRequest, KeyRing, MissingEvents, PortFuture, Remote, RemoteAlias,
        RemoteError, RemoteServers, SendInvite, SentJoin, StateIds, Template, TrustedKey,
        TrustedKeys,
    },
};
use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId, ServerName, UserId, api::Direction};
use serde_json::value::RawValue;

use super::Network;

/// One server's end of the network.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) network: Arc<Network>,
    pub(crate) from: usize,
}

impl Caller {
    fn name(&self) -> &ServerName {
        self.network.name(self.from)
    }

    /// Sends a request and waits for the answer. Either may get lost, and if it is the answer, the
    /// request has had its effect.
    fn call<'a, T, F>(
        &'a self,
        server: &'a ServerName,
        ask: impl FnOnce(Rooms) -> F + Send + 'a,
    ) -> Remote<'a, T>
    where
        T: Send + 'a,
        F: Future<Output = Result<T, Error>> + Send + 'a,
    {
        Box::pin(async move {
            let network = &*self.network;
            let to = network.find(server).filter(|to| *to != self.from);
            let to = to.ok_or_else(|| network.unreachable(server, "there is no such server"))?;
            let engine = network.engine(to).filter(|_| network.arrives(self.from, to)).cloned();
            let engine = engine.ok_or_else(|| network.unreachable(server, "it got lost"))?;
            let answer = ask(engine).await;
            if !network.arrives(to, self.from) {
                return Err(network.unreachable(server, "the answer got lost"));
            }
            answer.map_err(|error| refusal(server, &error))
        })
    }

    fn absent<'a, T: Send + 'a>(&'a self, server: &'a ServerName) -> Remote<'a, T> {
        let error = self.network.unreachable(server, "no part of the simulation");
        Box::pin(std::future::ready(Err(error)))
    }
}

fn refusal(server: &ServerName, error: &Error) -> RemoteError {
    let (status, errcode) = match error {
        Error::NotFound(_) => (404, "M_NOT_FOUND"),
        Error::Forbidden(_) | Error::NotJoined => (403, "M_FORBIDDEN"),
        Error::UnableToGrantJoin => (400, "M_UNABLE_TO_GRANT_JOIN"),
        _ => (400, "M_UNKNOWN"),
    };
    RemoteError::Refused {
        server: server.to_owned(),
        status,
        errcode: errcode.to_owned(),
        message: error.to_string(),
        room_version: None,
    }
}

fn pdus(events: &[Arc<rooms::StoredEvent>]) -> Vec<Bytes> {
    events.iter().map(|event| event.pdu.json().clone()).collect()
}

impl KeyRing for Caller {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        let keys = wanted.into_iter().filter_map(|request| {
            let key = *self.network.keys.get(&request.server)?;
            let key = TrustedKey { key, valid_until: u64::MAX };
            (request.key_id == "ed25519:sim").then_some(((request.server, request.key_id), key))
        });
        Box::pin(std::future::ready(keys.collect()))
    }
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
        self.call(server, async move |peer| {
            if self.network.lies(server) {
                return Ok(Vec::new());
            }
            peer.peer_missing_events(self.name(), room, query).await
        })
    }

    fn event<'a>(&'a self, server: &'a ServerName, event: &'a EventId) -> Remote<'a, Bytes> {
        self.call(server, async move |peer| peer.peer_event(self.name(), event).await)
    }

    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, Vec<Bytes>> {
        self.call(server, async move |peer| peer.peer_event_auth(self.name(), room, event).await)
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, StateIds> {
        self.call(server, async move |peer| {
            let state = peer.peer_state(self.name(), room, event).await?;
            let ids = |events: &[Arc<rooms::StoredEvent>]| {
                events.iter().map(|event| event.event_id().clone()).collect()
            };
            let told = self.network.told(server, ids(&state.state));
            Ok(StateIds { state: told, auth_chain: ids(&state.auth_chain) })
        })
    }

    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, FullState> {
        self.call(server, async move |peer| {
            let state = peer.peer_state(self.name(), room, event).await?;
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
        self.call(server, async move |peer| {
            peer.peer_backfill(self.name(), room, from, limit).await
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
        self.call(server, async move |peer| {
            peer.peer_timestamp_to_event(self.name(), room, ts, dir).await
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
        self.call(server, async move |peer| {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            let made = peer.peer_make(self.name(), handshake, room, user, &versions).await?;
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
        self.call(server, async move |peer| {
            let answer = peer.peer_join(self.name(), room, event, pdu).await?;
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
        self.call(server, async move |peer| peer.peer_leave(self.name(), room, event, pdu).await)
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, Vec<Bytes>> {
        self.call(server, async move |peer| peer.peer_knock(self.name(), room, event, pdu).await)
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        invite: SendInvite,
    ) -> Remote<'a, Bytes> {
        self.call(server, async move |peer| {
            let invite = IncomingInvite {
                room_id: room,
                event_id: event,
                room_version: &invite.room_version,
                event: invite.event,
                stripped_state: invite.stripped_state,
                via: invite.via,
            };
            peer.peer_invite(self.name(), invite).await
        })
    }

    fn directory<'a>(
        &'a self,
        server: &'a ServerName,
        _alias: &'a RoomAliasId,
    ) -> Remote<'a, RemoteAlias> {
        self.absent(server)
    }

    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        _room: &'a RoomId,
        _suggested_only: bool,
    ) -> Remote<'a, Box<RawValue>> {
        self.absent(server)
    }

    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        _request: Box<RawValue>,
    ) -> Remote<'a, Box<RawValue>> {
        self.absent(server)
    }

    fn policy_sign<'a>(&'a self, server: &'a ServerName, _pdu: Bytes) -> Remote<'a, Box<RawValue>> {
        self.absent(server)
    }
}
