//! A server that does not federate: everybody else is out of reach.

use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId, ServerName, UserId};

use super::{
    Bytes, FullState, Handshake, KeyRequest, KeyRing, MissingEvents, PortFuture, Ports, RawValue,
    Remote, RemoteAlias, RemoteError, RemoteServers, SendInvite, SentJoin, StateIds, Template,
    TrustedKeys,
};

struct Isolated;

impl Ports {
    /// For a region without federation.
    pub fn isolated() -> Self {
        Self { remote: std::sync::Arc::new(Isolated), keys: std::sync::Arc::new(Isolated) }
    }
}

impl KeyRing for Isolated {
    fn verify_keys(&self, _wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        Box::pin(std::future::ready(TrustedKeys::new()))
    }
}

fn unreachable<'a, T: Send + 'a>(server: &ServerName) -> Remote<'a, T> {
    let reason = "this server does not federate".to_owned();
    let error = RemoteError::Unreachable { server: server.to_owned(), reason };
    Box::pin(std::future::ready(Err(error)))
}

macro_rules! out_of_reach {
    ($($name:ident($($argument:ty),*) -> $answer:ty;)*) => {$(
        fn $name<'a>(&'a self, server: &'a ServerName, $(_: $argument),*) -> Remote<'a, $answer> {
            unreachable(server)
        }
    )*};
}

impl RemoteServers for Isolated {
    out_of_reach! {
        missing_events(&'a RoomId, MissingEvents) -> Vec<Bytes>;
        event(&'a EventId) -> Bytes;
        event_auth(&'a RoomId, &'a EventId) -> Vec<Bytes>;
        state_ids(&'a RoomId, &'a EventId) -> StateIds;
        state(&'a RoomId, &'a EventId) -> FullState;
        backfill(&'a RoomId, Vec<OwnedEventId>, usize) -> Vec<Bytes>;
        timestamp_to_event(&'a RoomId, u64, bool) -> (OwnedEventId, u64);
        make(Handshake, &'a RoomId, &'a UserId, &'a [&'static str]) -> Template;
        send_join(&'a RoomId, &'a EventId, Bytes) -> SentJoin;
        send_leave(&'a RoomId, &'a EventId, Bytes) -> ();
        send_knock(&'a RoomId, &'a EventId, Bytes) -> Vec<Bytes>;
        invite(&'a RoomId, &'a EventId, SendInvite) -> Bytes;
        directory(&'a RoomAliasId) -> RemoteAlias;
        hierarchy(&'a RoomId, bool) -> Box<RawValue>;
        public_rooms(Box<RawValue>) -> Box<RawValue>;
        policy_sign(Bytes) -> Box<RawValue>;
    }
}
