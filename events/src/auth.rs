//! Authorisation rules.
use std::sync::Arc;
use ruma::{EventId, OwnedEventId, UserId};
use serde_json::value::RawValue;
use crate::{Pdu, RoomVersion};
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("auth event {0} is not known")]
    MissingEvent(OwnedEventId),
    #[error("{0}")]
    Forbidden(String),
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level { Int(i64), Infinite }
#[derive(Clone, Debug)]
pub struct PowerLevels;
impl PowerLevels {
    /// The levels in force: of the create event, and of the `m.room.power_levels` event if any.
    pub fn new(_version: &RoomVersion, _create: &Pdu, _power_levels: Option<&Pdu>) -> Self { unimplemented!() }
    pub fn for_user(&self, _user: &UserId) -> Level { unimplemented!() }
    pub fn for_event(&self, _event_type: &str, _is_state: bool) -> Level { unimplemented!() }
    pub fn ban(&self) -> Level { unimplemented!() }
    pub fn kick(&self) -> Level { unimplemented!() }
    pub fn redact(&self) -> Level { unimplemented!() }
    pub fn invite(&self) -> Level { unimplemented!() }
    /// The level to notify with `key`, such as `room` for `@room` (50 if unset).
    pub fn notification(&self, _key: &str) -> Level { unimplemented!() }
    pub fn can_send(&self, _user: &UserId, _event_type: &str, _is_state: bool) -> bool { unimplemented!() }
    pub fn is_creator(&self, _user: &UserId) -> bool { unimplemented!() }
    /// Whether a redaction by `sender` may be applied to an event of `target_sender`.
    pub fn can_redact(&self, _sender: &UserId, _target_sender: &UserId) -> bool { unimplemented!() }
}
pub fn auth_events_for(_version: &RoomVersion, _event_type: &str, _sender: &UserId, _state_key: Option<&str>, _content: &RawValue) -> Result<Vec<(String, String)>, AuthError> { unimplemented!() }
pub fn check_state_independent(_version: &RoomVersion, _pdu: &Pdu, _fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>) -> Result<(), AuthError> { unimplemented!() }
pub fn check_auth(_version: &RoomVersion, _pdu: &Pdu, _fetch_state: impl Fn(&str, &str) -> Option<Arc<Pdu>>) -> Result<(), AuthError> { unimplemented!() }
