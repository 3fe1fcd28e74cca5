//! The storage contract: a wide-column store with typed tables, atomic durable batches and an
//! ordered log of facts.
//!
//! Rows live in a *partition* and are ordered inside it by a *sort key*; that is what Cassandra is,
//! and what an ordered embedded store imitates exactly, so the domain is written once. A domain
//! crate declares its tables ([`Table`]), reads single rows and ranges of one partition, and writes
//! through a [`Batch`]. There is no scan across partitions on a request path.
//!
//! What the contract promises:
//!
//! - A batch is applied whole or not at all, and [`Pending`] resolves only after it is on disk.
//!   Many waiting batches share one flush.
//! - Batches are applied in the order in which they were submitted. The facts of a batch get
//!   consecutive positions, and [`Log::position`] never shows a position before all lower ones are
//!   durable.
//! - After an engine error nothing more is accepted: the process is expected to stop
//!   ([`Store::failed`]) and to recover from disk.
//!
//! Start reading at [`table`](crate::Table), then `batch.rs`, then `store.rs`.

mod ahead;
mod ballast;
mod batch;
mod engine;
mod key;
mod log;
mod open;
mod record;
mod store;
mod table;
mod writer;

pub mod conformance;
pub mod dump;

pub use batch::{Batch, Condition};
pub use engine::{Engine, EngineError, EngineKind, EngineSnapshot, KeyRange, TableBytes, Write};
pub use key::{EncodesAs, Key, KeyError, PrefixOf};
pub use log::{Consumer, Fact, Follower, Log, LoggedFact, Position, PruneError};
pub use record::{First, Record, RecordError, Versioned};
pub use store::{
    Barrier, CommitError, Config, DEFAULT_LOW_WATER_BYTES, MAX_KEY_BYTES, OpenError, Pending,
    ReadError, SCHEMA_VERSION, Snapshot, Store,
};
pub use table::{Range, Row, Table};
