//! The tables of the room engine, and what their rows hold.
//!
//! A room's partition is the commit point of everything that happens in it; rows elsewhere are
//! derived from it.

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};
use storage::{First, Position, Table, Versioned};

use crate::{Root, trie::NodeId};

macro_rules! table {
    ($(#[$doc:meta])* $name:ident = $on_disk:literal [$partition:ty | $sort:ty] $value:ty $(, $ahead:literal)?) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Table for $name {
            const NAME: &'static str = $on_disk;
            $(const READ_AHEAD: bool = $ahead;)?
            type Partition = $partition;
            type Sort = $sort;
            type Value = $value;
        }
    };
}

macro_rules! first_version {
    ($($record:ty),* $(,)?) => {$(
        impl Versioned for $record {
            const VERSION: u8 = 1;
            type Previous = First;
        }
    )*};
}

table! {
    /// Room | position.
    Events = "room_events" [String | u64] EventRecord
}
table! {
    /// Event id.
    EventIds = "room_event_ids" [String | ()] EventPlace
}
table! {
    /// Event id. Events without a place in the history that is shown: outliers, soft-failed and
    /// rejected ones.
    SideEvents = "room_side_events" [String | ()] SideRecord
}
table! {
    /// Room | depth, id of an event that comes after events that are not known.
    Gaps = "room_gaps" [String | (u64, String)] ()
}
table! {
    /// Room | id of an event that was redacted before it came.
    PendingRedactions = "room_pending_redactions" [String | String] PendingRedaction, true
}
table! {
    /// Room | depth, position: the topological order.
    Depths = "room_depths" [String | (u64, u64)] ()
}
table! {
    /// Room.
    Heads = "room_heads" [String | ()] HeadRecord
}
table! {
    /// Room | user, device, endpoint, transaction id.
    Transactions = "room_transactions" [String | (String, String, String, String)] TransactionRecord, true
}
table! {
    /// Room | user, whatever server they are on.
    Members = "room_members" [String | String] MemberRecord
}
table! {
    /// User of this server | room.
    UserRooms = "user_rooms" [String | String] UserRoomRecord, true
}
table! {
    /// User of this server | room that this server is not in: what the user is shown of it.
    InviteStates = "room_invite_states" [String | String] InviteState
}
table! {
    /// User of another server | room of this server that they are joined to.
    RemoteUserRooms = "remote_user_rooms" [String | String] ()
}
table! {
    /// Room | parent event, position of the child.
    Relations = "room_relations" [String | (String, u64)] RelationRecord
}
table! {
    /// Room | position of a reply in a thread.
    ThreadReplies = "room_thread_replies" [String | u64] ThreadReplyRecord
}
table! {
    /// Room | `origin_server_ts`, position.
    Times = "room_times" [String | (u64, u64)] ()
}
table! {
    /// Room | user, type, thread (empty: unthreaded).
    Receipts = "room_receipts" [String | (String, String, String)] ReceiptRecord
}
table! {
    /// Room | the receipt's place on the log. The newest of each receipt only.
    ReceiptsByPosition = "room_receipts_by_position" [String | u64] ReceiptKeyRecord
}
table! {
    /// Alias.
    Aliases = "room_aliases" [String | ()] AliasRecord
}
table! {
    /// Room | alias.
    AliasesByRoom = "room_aliases_by_room" [String | String] ()
}
table! {
    /// Network, empty for our own | room: the published directories.
    Published = "rooms_published" [String | String] ()
}
table! {
    /// Empty | network that an application service ever published a room of.
    PublishedNetworks = "rooms_published_networks" [String | String] ()
}
table! {
    /// User.
    ErasedUsers = "erased_users" [String | ()] ()
}
table! {
    /// The hash of the node's content.
    StateNodes = "state_nodes" [NodeId | ()] Bytes
}

/// An event as it was accepted, or what is left of it after a redaction.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub(crate) event_id: OwnedEventId,
    pub(crate) room_version: String,
    /// The PDU.
    pub(crate) json: Bytes,
    pub(crate) state_before: Root,
    /// Device and transaction id of a local sender.
    pub(crate) txn: Option<(String, String)>,
    pub(crate) redacted_by: Option<OwnedEventId>,
    /// The room's state once the event was accepted, where that is not the event's own.
    pub(crate) room_state: Option<Root>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PendingRedaction {
    /// Whether they may take effect is not known before the target is.
    pub(crate) redactions: Vec<OwnedEventId>,
}

/// Redactions of one event that are kept until it comes.
const REDACTIONS_MAX: usize = 16;

impl PendingRedaction {
    pub(crate) fn with(earlier: Option<Self>, redaction: &OwnedEventId) -> Self {
        let mut record = earlier.unwrap_or(Self { redactions: Vec::new() });
        if record.redactions.len() < REDACTIONS_MAX {
            record.redactions.push(redaction.clone());
        }
        record
    }
}

/// What came with an invite, or with the answer to a knock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InviteState {
    /// Stripped state events, JSON objects.
    pub(crate) events: Vec<Bytes>,
    /// Servers that may be in the room.
    pub(crate) via: Vec<String>,
}

/// Before rooms could fork.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventRecordV1 {
    event_id: OwnedEventId,
    room_version: String,
    json: Bytes,
    state_before: Root,
    status: StatusV1,
    txn: Option<(String, String)>,
    redacted_by: Option<OwnedEventId>,
}

/// Only accepted events were ever stored.
#[derive(Debug, Serialize, Deserialize)]
enum StatusV1 {
    Accepted,
    SoftFailed,
    Rejected,
}

impl From<EventRecordV1> for EventRecord {
    fn from(old: EventRecordV1) -> Self {
        Self {
            event_id: old.event_id,
            room_version: old.room_version,
            json: old.json,
            state_before: old.state_before,
            txn: old.txn,
            redacted_by: old.redacted_by,
            room_state: None,
        }
    }
}

impl Versioned for EventRecord {
    const VERSION: u8 = 2;
    type Previous = EventRecordV1;
}

/// An event that is kept because others refer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SideRecord {
    pub(crate) room_version: String,
    /// The PDU.
    pub(crate) json: Bytes,
    pub(crate) status: SideStatus,
    /// Unknown of an outlier.
    pub(crate) state_before: Option<Root>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum SideStatus {
    Outlier,
    SoftFailed,
    Rejected,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventPlace {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) position: Position,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeadRecord {
    pub(crate) room_version: String,
    pub(crate) create: OwnedEventId,
    pub(crate) extremities: Vec<OwnedEventId>,
    pub(crate) depth: u64,
    pub(crate) position: Position,
    pub(crate) state: Root,
    pub(crate) joined_members: u64,
    pub(crate) invited_members: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransactionRecord {
    pub(crate) event_id: OwnedEventId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    pub(crate) membership: MembershipState,
    pub(crate) event_id: OwnedEventId,
    pub(crate) position: Position,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserRoomRecord {
    pub(crate) membership: MembershipState,
    pub(crate) event_id: OwnedEventId,
    pub(crate) position: Position,
    pub(crate) state: Root,
    pub(crate) seen: Option<Seen>,
    pub(crate) forgotten: bool,
}

/// The end of the last time that a user was joined.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) state: Root,
    pub(crate) position: Position,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RelationRecord {
    pub(crate) event_id: OwnedEventId,
    pub(crate) rel_type: String,
    pub(crate) event_type: String,
    pub(crate) sender: OwnedUserId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) creator: OwnedUserId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ThreadReplyRecord {
    pub(crate) root: OwnedEventId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptRecord {
    pub(crate) event_id: OwnedEventId,
    pub(crate) event_position: Position,
    pub(crate) ts: u64,
    pub(crate) position: Position,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptKeyRecord {
    pub(crate) user: OwnedUserId,
    pub(crate) kind: String,
    pub(crate) thread: String,
}

first_version!(
    EventRecordV1,
    SideRecord,
    PendingRedaction,
    InviteState,
    EventPlace,
    HeadRecord,
    TransactionRecord,
    MemberRecord,
    UserRoomRecord,
    RelationRecord,
    AliasRecord,
    ThreadReplyRecord,
    ReceiptRecord,
    ReceiptKeyRecord,
);
