//! The room engine: one writer per room, state as a persistent trie, and every read checked
//! against history visibility.
//!
//! It does not know who consumes what it writes: a commit appends facts to the store's log in the
//! same batch, and sync, federation and push follow the log. Start reading at [`Rooms`], then
//! `room.rs` (what is in memory of a room), `draft.rs` (how an event comes into being), `send.rs`.

mod rooms;

mod commit;
mod content;
mod draft;
mod error;
mod facts;
pub mod ports;
mod receive;
mod resolution;
mod room;
mod store;
mod stored_event;
mod trie;

mod create;
mod membership;
mod send;
mod state;
mod state_rules;
mod unsigned;
mod upgrade;

mod aliases;
mod directory;
mod erasure;
mod news;
pub mod peers;
mod policy_server;
mod receipts;
mod relations;
mod remote;
mod spaces;
mod timeline;
mod typing;
mod visibility;

pub use create::{CreateRoom, InitialState, Preset};
pub use directory::{Network, PublicRoom, PublicRoomsPage, PublicRoomsQuery};
pub use error::Error;
pub use facts::{MembershipFact, ReceiptFact, RelayFact, RoomEventFact, stream};
pub use membership::{JoinRequest, KnockRequest, MembersPage, MembershipChange, Profile, UserRoom};
pub use policy_server::{PolicyRate, PolicyServerConfig};
pub use receipts::{NewReceipt, Receipt};
pub use receive::{Outcome as ReceiveOutcome, ReceiveError, Received};
pub use relations::{RelationsPage, RelationsQuery};
pub use room::{RoomView, Servers};
pub use rooms::{Config, Rooms};
pub use send::{NewEvent, Redaction, Txn};
pub use spaces::{HierarchyPage, HierarchyQuery, RoomSummary};
pub use stored_event::{EventStatus, StoredEvent, TxnEcho};
pub use timeline::{Around, Context, MessagesQuery, Page, RelTypes};
pub use trie::Root;
pub use typing::TypingChange;
pub use unsigned::UnsignedFor;
pub use upgrade::UpgradeRoom;
