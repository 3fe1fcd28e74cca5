//! A whole store in one file, read out of a consistent snapshot: for backup, verification and
//! moving between engines.
//!
//! The file is a sequence of blocks, each with its length and a checksum that also covers its place
//! in the sequence, so that a damaged, cut, reordered or extended file is told apart from a good
//! one:
//!
//! ```text
//! magic  block(header)  block(rows)*  block(file)*  block(end)
//! block = kind u8, length u32, payload, checksum u64        (little-endian)
//! rows  = table name, then per row: key, value              (each u32 length, bytes)
//! file  = path (u32 length, bytes), then a piece of its content
//! ```

mod files;
mod format;
mod read;
mod write;

use std::{io, path::PathBuf};

pub use self::{
    files::Attachment,
    read::{check, restore, restore_with_files, verify},
    write::{dump, dump_with_files},
};
use crate::{
    engine::EngineError,
    store::{OpenError, SCHEMA_VERSION},
};

/// How far it is. Passed to the caller now and then; at the end it is the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The table that is being read or written.
    pub table: String,
    pub tables: u64,
    pub rows: u64,
    pub files: u64,
    /// Keys, values and contents of files, without any overhead.
    pub bytes: u64,
}

impl Progress {
    fn enter(&mut self, table: &str) {
        if self.table != table {
            table.clone_into(&mut self.table);
            self.tables += 1;
        }
    }

    fn count(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// A dump could not be written, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not a dump of a Meridian store")]
    NotADump { path: PathBuf },
    #[error("{path} is damaged at byte {offset}, after {rows} good rows: {reason}")]
    Damaged { path: PathBuf, offset: u64, rows: u64, reason: &'static str },
    #[error("{path} has schema version {found}, this build knows {SCHEMA_VERSION}")]
    UnknownSchema { path: PathBuf, found: u32 },
    #[error("{0} already holds data: restore into an empty directory")]
    NotEmpty(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading the store failed: its files are damaged.
    #[error("table {table}: {source}")]
    Read { table: String, source: EngineError },
    #[error(transparent)]
    Engine(#[from] EngineError),
}
