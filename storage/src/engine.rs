//! What an engine must be able to do, in bytes. The typed contract above it is written once.

pub(crate) mod directory;
pub(crate) mod fjall;
pub(crate) mod memory;
pub(crate) mod sled;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use bytes::Bytes;

use crate::store::OpenError;

/// Which engine holds the data. `Memory` forgets everything when the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Memory,
    Fjall,
    Sled,
}

impl EngineKind {
    /// As written in the configuration and in the data directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An engine could not read or write. After a failed write the store accepts no more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage engine: {0}")]
pub struct EngineError(pub String);

/// One put (`Some`) or delete (`None`).
#[derive(Clone, Debug)]
pub struct Write<'a> {
    pub table: &'a str,
    pub key: Bytes,
    pub value: Option<Bytes>,
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
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// At most `limit` rows, in key order or its reverse.
    fn scan(
        &self,
        table: &str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError>;

    /// Applies all writes or none, later ones over earlier ones. They are on disk when it returns.
    fn apply(&self, writes: Vec<Write<'_>>) -> Result<(), EngineError>;

    /// A consistent view of all tables that later writes do not change.
    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError>;

    /// Bytes on disk, for metrics.
    fn disk_bytes(&self) -> u64;

    /// Writes every table out anew, without what was overwritten or deleted, and returns the bytes
    /// that each takes on disk then. Takes as long as reading and writing everything. `None` where
    /// an engine has no such thing.
    fn compact(&self) -> Result<Option<TableBytes>, EngineError> {
        Ok(None)
    }
}

/// Bytes on disk by table.
pub type TableBytes = BTreeMap<String, u64>;

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

/// Opens the engine in its own directory, creating it if missing.
///
/// Damaged files make both embedded engines panic in places; that must end in an error which names
/// the directory, not in a crash loop without a word.
pub(crate) fn open(kind: EngineKind, path: &Path) -> Result<Arc<dyn Engine>, OpenError> {
    let opened = std::panic::catch_unwind(|| -> Result<Arc<dyn Engine>, EngineError> {
        Ok(match kind {
            EngineKind::Memory => Arc::new(memory::Memory::default()),
            EngineKind::Fjall => Arc::new(fjall::Fjall::open(path)?),
            EngineKind::Sled => Arc::new(sled::Sled::open(path)?),
        })
    });
    let outcome = opened.unwrap_or_else(|panic| Err(EngineError(panic_text(&*panic))));
    outcome.map_err(|EngineError(reason)| {
        EngineError(format!("cannot open {}: {reason}", path.display())).into()
    })
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the files are damaged: {}", text.unwrap_or("the engine gave up"))
}

/// Bytes that the files below a directory take up, holes not counted.
pub(crate) fn bytes_below(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.blocks() * 512,
        // Compaction has removed the file in the meantime.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
