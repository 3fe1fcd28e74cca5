//! What the room engine needs of other servers, as ports: rooms says what it asks for, the
//! federation edge knows how.
//!
//! No port is called while a room's writer is held. What a port returns is what a stranger sent:
//! bytes that are not checked beyond their size.

mod isolated;

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use events::PublicKey;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId,
};
use serde_json::value::RawValue;

/// The answer of a port. Dropping it cancels the call.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// The answer of another server.
pub type Remote<'a, T> = PortFuture<'a, Result<T, RemoteError>>;

/// Why another server gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// No connection, no answer in time, an answer of 5xx or 429, or the server is backed off from.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: OwnedServerName, reason: String },
    /// The server answered, and said no.
    #[error("{server} refused: {message} ({errcode})")]
    Refused {
        server: OwnedServerName,
        status: u16,
        /// Empty if the body had none.
        errcode: String,
        message: String,
        /// What `M_INCOMPATIBLE_ROOM_VERSION` says the room has.
        room_version: Option<String>,
    },
    /// The answer is not what the specification says, or larger than what is accepted.
    #[error("the answer of {server} cannot be used: {reason}")]
    Malformed { server: OwnedServerName, reason: String },
}

/// A key that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRequest {
    pub server: OwnedServerName,
    /// `ed25519:<version>`
    pub key_id: String,
    /// Milliseconds; a copy of the key that is known to be valid then will do, an older one is
    /// asked for again.
    pub valid_at: u64,
}

/// A key of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    pub key: PublicKey,
    /// Milliseconds. Until then the key counts: `valid_until_ts`, or `expired_ts` of an old key.
    pub valid_until: u64,
}

/// By server and key id. What could not be had is not in it.
pub type TrustedKeys = HashMap<(OwnedServerName, String), TrustedKey>;

/// Whoever may make an alias of this server that nobody has made yet: application services.
pub trait AliasSource: Send + Sync {
    /// Whether there is one now. Bounded in time.
    fn make<'a>(&'a self, alias: &'a RoomAliasId) -> PortFuture<'a, bool>;
}

/// The keys of other servers, and our own.
pub trait KeyRing: Send + Sync {
    /// Bounded in time; never fails as a whole.
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys>;
}

/// Of `POST /get_missing_events`.
#[derive(Clone, Debug)]
pub struct MissingEvents {
    pub earliest: Vec<OwnedEventId>,
    pub latest: Vec<OwnedEventId>,
    pub limit: usize,
    pub min_depth: u64,
}

/// Of `GET /state_ids`.
#[derive(Clone, Debug, Default)]
pub struct StateIds {
    pub state: Vec<OwnedEventId>,
    pub auth_chain: Vec<OwnedEventId>,
}

/// Of `GET /state`: PDUs.
#[derive(Clone, Debug, Default)]
pub struct FullState {
    pub state: Vec<Bytes>,
    pub auth_chain: Vec<Bytes>,
}

/// Which template is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Join,
    Leave,
    Knock,
}

/// Of `GET /make_join`, `/make_leave`, `/make_knock`.
#[derive(Clone, Debug)]
pub struct Template {
    /// "1" if the answer had none.
    pub room_version: String,
    /// An unsigned event that is not checked.
    pub event: Box<RawValue>,
}

/// Of `PUT /v2/send_join`.
#[derive(Clone, Debug)]
pub struct SentJoin {
    /// The join as the resident server has it, with its signature if it signed.
    pub event: Option<Bytes>,
    pub state: Vec<Bytes>,
    pub auth_chain: Vec<Bytes>,
    pub servers_in_room: Vec<OwnedServerName>,
    pub members_omitted: bool,
}

/// Of `PUT /v2/invite`.
#[derive(Clone, Debug)]
pub struct SendInvite {
    pub room_version: String,
    /// The signed invite.
    pub event: Bytes,
    /// `invite_room_state`, as JSON objects.
    pub stripped_state: Vec<Bytes>,
    pub via: Vec<OwnedServerName>,
}

/// Of `GET /query/directory`.
#[derive(Clone, Debug)]
pub struct RemoteAlias {
    pub room_id: OwnedRoomId,
    pub servers: Vec<OwnedServerName>,
}

/// Questions to one other server about rooms. Each call is one request (with the retries that its
/// kind allows), bounded in time and size.
pub trait RemoteServers: Send + Sync {
    /// PDUs, in no particular order.
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        request: MissingEvents,
    ) -> Remote<'a, Vec<Bytes>>;

    /// A PDU.
    fn event<'a>(&'a self, server: &'a ServerName, event: &'a EventId) -> Remote<'a, Bytes>;

    /// The auth chain of an event, PDUs.
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, Vec<Bytes>>;

    /// The state before an event.
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, StateIds>;

    /// The state before an event.
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Remote<'a, FullState>;

    /// PDUs: `from` and what came before them.
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Remote<'a, Vec<Bytes>>;

    /// The event closest to `ts` (milliseconds) and its own time.
    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        ts: u64,
        backward: bool,
    ) -> Remote<'a, (OwnedEventId, u64)>;

    /// `versions`: those that we know.
    fn make<'a>(
        &'a self,
        server: &'a ServerName,
        handshake: Handshake,
        room: &'a RoomId,
        user: &'a UserId,
        versions: &'a [&'static str],
    ) -> Remote<'a, Template>;

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, SentJoin>;

    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, ()>;

    /// `knock_room_state`, as JSON objects.
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Remote<'a, Vec<Bytes>>;

    /// The invite with the signature of the invited user's server.
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        invite: SendInvite,
    ) -> Remote<'a, Bytes>;

    fn directory<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> Remote<'a, RemoteAlias>;

    /// The body of `GET /hierarchy`: a JSON object.
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        suggested_only: bool,
    ) -> Remote<'a, Box<RawValue>>;

    /// The body of `POST /publicRooms`, request and answer JSON objects.
    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        request: Box<RawValue>,
    ) -> Remote<'a, Box<RawValue>>;

    /// Asks the server of who invited by a third-party identifier to invite the user whom that turned
    /// out to be: an event without hashes and signatures.
    #[expect(clippy::boxed_local, reason = "whoever can ask sends it on")]
    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        _room: &'a RoomId,
        _event: Box<RawValue>,
    ) -> Remote<'a, ()> {
        let reason = "it cannot be asked".to_owned();
        let error = RemoteError::Unreachable { server: server.to_owned(), reason };
        Box::pin(std::future::ready(Err(error)))
    }

    /// The signatures of a policy server on an event (`POST /sign`): `{"<server>": {"<key>": "…"}}`.
    fn policy_sign<'a>(&'a self, server: &'a ServerName, pdu: Bytes) -> Remote<'a, Box<RawValue>>;

    /// Whether the identity server at `url`, a `key_validity_url` of the room, says that the key
    /// (base64) still counts. Bounded in time; whoever cannot ask does not know that it does.
    fn is_key_valid<'a>(&'a self, _url: &'a str, _public_key: &'a str) -> PortFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What a room engine is connected to.
#[derive(Clone)]
pub struct Ports {
    pub remote: Arc<dyn RemoteServers>,
    pub keys: Arc<dyn KeyRing>,
}
