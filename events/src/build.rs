//! Building events.
use ruma::{EventId, OwnedEventId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;
use crate::{Pdu, RoomVersion, SigningKey};
/// What a new event says; hashes, signature and event id are added by [`sign_and_build`].
#[derive(Clone, Copy)]
pub struct EventTemplate<'a> {
    /// `None` only for the create event of a version 12 room.
    pub room_id: Option<&'a RoomId>,
    pub sender: &'a UserId,
    pub event_type: &'a str,
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub prev_events: &'a [OwnedEventId],
    pub auth_events: &'a [OwnedEventId],
    pub depth: u64,
    pub origin_server_ts: u64,
    /// The event to redact; written to the top level or into the content, as the version has it.
    pub redacts: Option<&'a EventId>,
}
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    BadJson(String),
    #[error("{0}")]
    Invalid(String),
}
pub fn sign_and_build(_template: &EventTemplate<'_>, _key: &SigningKey, _server_name: &ServerName, _version: &RoomVersion) -> Result<Pdu, BuildError> { unimplemented!() }
