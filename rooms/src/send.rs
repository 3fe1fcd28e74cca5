//! Sending events: messages and state.

use ruma::{DeviceId, EventId, OwnedEventId, RoomId, TransactionId, UserId};
use serde_json::value::RawValue;

use crate::{Error, Rooms};

/// A transaction id, scoped to the device that chose it.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'a> {
    pub device_id: &'a DeviceId,
    pub txn_id: &'a TransactionId,
}

#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub event_type: &'a str,
    /// Makes it a state event.
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub txn: Option<Txn<'a>>,
    /// `origin_server_ts` in milliseconds, for those who may choose it.
    pub timestamp: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Redaction<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub target: &'a EventId,
    pub reason: Option<&'a str>,
    pub txn: Option<Txn<'a>>,
}

impl Rooms {
    /// Sends an event and returns once it is durable.
    ///
    /// A state event equal to the current one is not sent again: its id is returned.
    pub async fn send(&self, _event: NewEvent<'_>) -> Result<OwnedEventId, Error> {
        unimplemented!()
    }

    /// Redacts an event. Returns the id of the redaction.
    pub async fn redact(&self, _redaction: Redaction<'_>) -> Result<OwnedEventId, Error> {
        unimplemented!()
    }
}
