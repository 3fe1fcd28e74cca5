//! The sender's tables.

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use storage::{First, Position, Table, Versioned};

pub(super) struct ToDevice;

impl Table for ToDevice {
    const NAME: &'static str = "federation_outbox_to_device";
    /// Destination.
    type Partition = String;
    /// Of the fact.
    type Sort = u64;
    type Value = Bytes;
}

pub(super) struct Events;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventRecord {
    pub(super) event_id: OwnedEventId,
    /// `None` in rows that are older than the bound of the outbox.
    pub(super) room_id: Option<OwnedRoomId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventRecordV1 {
    event_id: OwnedEventId,
}

impl Versioned for EventRecordV1 {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl From<EventRecordV1> for EventRecord {
    fn from(old: EventRecordV1) -> Self {
        Self { event_id: old.event_id, room_id: None }
    }
}

impl Versioned for EventRecord {
    const VERSION: u8 = 2;
    type Previous = EventRecordV1;
}

impl Table for Events {
    const NAME: &'static str = "federation_outbox";
    /// Destination.
    type Partition = String;
    /// Of the fact.
    type Sort = u64;
    type Value = EventRecord;
}

/// Servers that something was ever sent to.
pub(super) struct Destinations;

impl Table for Destinations {
    const NAME: &'static str = "federation_destinations";
    type Partition = u32;
    type Sort = String;
    type Value = ();
}

/// Of servers that do not answer; no row for one that does.
pub(super) struct FailuresTable;

/// What is known of a server that does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sender) struct Failures {
    /// In a row.
    pub(in crate::sender) count: u32,
    /// When the first of them was, in milliseconds.
    pub(in crate::sender) since: u64,
}

impl Versioned for Failures {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for FailuresTable {
    const NAME: &'static str = "federation_failures";
    /// Destination.
    type Partition = String;
    type Sort = ();
    type Value = Failures;
}

/// The transaction of each destination that has no answer yet.
pub(super) struct UnansweredTable;

/// All that is needed to send a transaction again as it was. Its events and messages are rows of the
/// outbox, and the oldest there.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sender) struct Unanswered {
    pub(in crate::sender) txn_id: String,
    pub(in crate::sender) origin_server_ts: u64,
    pub(in crate::sender) events: Vec<Position>,
    pub(in crate::sender) to_device: Vec<Position>,
    /// EDUs that are in no row.
    pub(in crate::sender) notices: Vec<Bytes>,
}

impl Versioned for Unanswered {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for UnansweredTable {
    const NAME: &'static str = "federation_unanswered";
    /// Destination.
    type Partition = String;
    type Sort = ();
    type Value = Unanswered;
}
