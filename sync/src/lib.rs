//! What changed for a user since a token: `/v3/sync` as a long poll and as a stream of batches for
//! the WebSocket transport, and sliding sync, over one model.
//!
//! This crate reads `rooms`, `accounts`, `devices` and `presence`; nothing calls it but the edge.
//! The hub follows the log and knows, in memory, which rooms moved and who is interested; a
//! request that finds nothing new costs no store read. Start reading at [`Sync::v3`] and
//! [`Sync::connection`], then `compute.rs`; for sliding sync at [`Sync::sliding`].

mod changes;
mod compute;
mod connection;
mod device_lists;
mod error;
mod filter;
mod hub;
mod json;
mod lazy;
mod sections;
mod service;
mod sliding;
mod token;
mod unread;
mod unwanted;
mod v3;
mod waiter;

pub use connection::{Batch, Connection, Params};
pub use device_lists::DeviceLists;
pub use error::SyncError;
pub use filter::{EventFilter, Filter, FilterError, LazyMembers};
pub use service::{Config, Sources, Sync};
pub use sliding::{
    Dialect, SlidingBody, SlidingBodyError, SlidingConnection, SlidingRequest, SlidingUpdate,
};
pub use token::Token;
pub use unread::{PushRules, RoomRules, Verdict};
pub use unwanted::Unwanted;
pub use v3::{StateAfter, V3Request};
