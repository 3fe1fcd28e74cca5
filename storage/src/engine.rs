//! What an engine must be able to do, in bytes. The typed contract above it is written once.

pub(crate) mod memory;

use std::{fs::File, sync::Arc};

use bytes::Bytes;

use crate::{
    ballast::DiskGuard,
    log::Position,
    store::{Config, OpenError},
};

/// Which engine holds the data. `Memory` forgets everything when the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Memory,
    Fjall,
    Sled,
}

/// An engine could not read or write. After a failed write the store accepts no more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage engine: {0}")]
pub struct EngineError(pub String);

/// One put (`Some`) or delete (`None`).
#[derive(Clone, Debug)]
pub struct Write {
    pub table: &'static str,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Keys from `start` (inclusive) to `end` (exclusive; `None` is the end of the table).
#[derive(Clone, Debug)]
pub struct KeyRange {
    pub start: Vec<u8>,
    pub end: Option<Vec<u8>>,
}

/// An ordered map per table name, with atomic durable batches.
///
/// Calls may block on the disk; they are short. `apply` is called by one thread only.
pub trait Engine: Send + Sync + 'static {
    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// At most `limit` rows, in key order or its reverse.
    fn scan(
        &self,
        table: &'static str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError>;

    /// Applies all writes or none, later ones over earlier ones. They are on disk when it returns.
    fn apply(&self, writes: Vec<Write>) -> Result<(), EngineError>;

    /// A consistent view of all tables that later writes do not change.
    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError>;

    /// Bytes on disk, for metrics.
    fn disk_bytes(&self) -> u64;
}

/// A consistent view, for backup, verification and moving between engines.
pub trait EngineSnapshot: Send {
    /// Every table that has rows, by name.
    fn tables(&self) -> Result<Vec<String>, EngineError>;

    /// Calls `each` with every row of a table in key order, until it returns `false`.
    fn for_each(
        &self,
        table: &str,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError>;
}

/// What opening the data directory yields.
pub(crate) struct Opened {
    pub(crate) engine: Arc<dyn Engine>,
    /// The last position that is on disk.
    pub(crate) position: Position,
    pub(crate) incarnation: u64,
    pub(crate) disk: DiskGuard,
    /// Held as long as the store is open.
    pub(crate) lock: Option<File>,
}

pub(crate) fn open(config: &Config, incarnation: u64) -> Result<Opened, OpenError> {
    match config.engine {
        EngineKind::Memory => Ok(Opened {
            engine: Arc::new(memory::Memory::default()),
            position: 0,
            incarnation,
            disk: DiskGuard::unlimited(),
            lock: None,
        }),
        EngineKind::Fjall | EngineKind::Sled => unimplemented!(),
    }
}
