//! fjall's journal after an orderly end.
//!
//! fjall starts a new journal only every 64 MB, and replaying one takes the best part of a second.
//! When everything in it has been written out to tables, it is emptied, so that the next start is
//! quick. It must not be deleted: without one fjall begins to count its sequence numbers anew.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fjall::{Database, Keyspace, PersistMode};

/// A journal with less in it is replayed faster than it is emptied.
const WORTH_EMPTYING_BYTES: u64 = 4 << 20;
/// How long an orderly end may wait for memtables to be written out: 20 seconds.
const WAITS: u32 = 10_000;
const WAIT: Duration = Duration::from_millis(2);

/// Declared after the database, so that it is dropped after it.
pub(super) struct Journal {
    directory: PathBuf,
    written_out: bool,
}

impl Journal {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), written_out: false }
    }

    /// Length of what there is to replay, at most.
    pub(super) fn bytes(&self) -> u64 {
        let lengths = self.files().map(|files| files.iter().map(|file| length(file)).sum());
        lengths.unwrap_or(0)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.directory)?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect())
    }

    /// Writes out what is in memory, if that makes the next start quicker.
    pub(super) fn write_out(
        &mut self,
        bytes: u64,
        database: &Database,
        keyspaces: &[Keyspace],
    ) -> fjall::Result<()> {
        if bytes < WORTH_EMPTYING_BYTES {
            return Ok(());
        }
        self.written_out = write_out_memtables(database, keyspaces)?;
        Ok(())
    }

    fn empty(&self) -> io::Result<()> {
        // fjall deletes older ones itself once they are written out. If it has not, leave them.
        if let [only] = &*self.files()? {
            let file = File::options().write(true).open(only)?;
            file.set_len(0)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

/// `false` if that takes too long.
pub(super) fn write_out_memtables(
    database: &Database,
    keyspaces: &[Keyspace],
) -> fjall::Result<bool> {
    // An error here means that a background thread has failed: nothing is certain then.
    database.persist(PersistMode::SyncAll)?;
    for keyspace in keyspaces {
        keyspace.rotate_memtable()?;
    }
    for _ in 0..WAITS {
        if keyspaces.iter().all(|keyspace| keyspace.sealed_memtable_count() == 0) {
            database.persist(PersistMode::SyncAll)?;
            return Ok(true);
        }
        std::thread::sleep(WAIT);
    }
    Ok(false)
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.written_out {
            return;
        }
        if let Err(error) = self.empty() {
            tracing::warn!(%error, "the journal could not be emptied: the next start takes longer");
        }
    }
}
