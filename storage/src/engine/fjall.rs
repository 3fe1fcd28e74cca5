//! The default engine: fjall, a log-structured merge tree with one keyspace per table.
//!
//! One atomic journal entry across keyspaces carries a group of batches. It is synced before the
//! rows become visible, so a reader never sees what a crash could take back.

mod journal;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::{
    AbstractTree as _, CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch,
    PersistMode, Readable,
    config::{BlockSizePolicy, CompressionPolicy},
};
use parking_lot::RwLock;

use self::journal::Journal;
use super::{Engine, EngineError, EngineSnapshot, KeyRange, TableBytes, Write};

/// Of uncompressed blocks, all tables together. Grows only as far as blocks are read.
const BLOCK_CACHE_BYTES: u64 = 32 << 20;
/// Of one table, before it is written out. Times the tables in use it bounds memory.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Rows that follow each other in a block have most of their bytes in common: a room's id, senders,
/// auth events, the previous event's id. With 4 KiB a block holds too few of them.
const BLOCK_BYTES: u32 = 16 << 10;
/// The least that fjall accepts: tables with few writes are then written out early enough that the
/// journal does not grow.
const JOURNAL_BYTES: u64 = 64 << 20;
/// With more, one of them spins while another compacts. Four memtables of a table may wait for a
/// long compaction before writers have to.
const WORKER_THREADS: usize = 1;
/// Well below the usual limit of 1024 per process: connections need descriptors too.
const OPEN_FILES: usize = 256;
/// The journal's length lies within what was allocated before, or is part of what is synced.
const DURABLE: PersistMode = PersistMode::SyncData;

fn failed(error: fjall::Error) -> EngineError {
    EngineError(error.to_string())
}

pub(crate) struct Fjall {
    /// Those that exist. Reading a table that nobody wrote to does not create it.
    keyspaces: RwLock<HashMap<String, Keyspace>>,
    database: Database,
    journal: Journal,
    /// Bytes in the journal, roughly.
    journal_bytes: AtomicU64,
    memtable_bytes: u64,
    /// Bytes written since memtables were last looked at.
    unseen_bytes: AtomicU64,
    path: PathBuf,
}

impl Fjall {
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        Self::open_with(path, MEMTABLE_BYTES)
    }

    fn open_with(path: &Path, memtable_bytes: u64) -> Result<Self, EngineError> {
        let journal = Journal::new(path);
        let journal_bytes = journal.bytes().into();
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKER_THREADS)
            .max_cached_files(Some(OPEN_FILES))
            .open()
            .map_err(failed)?;
        let mut keyspaces = HashMap::new();
        for name in database.list_keyspace_names() {
            let keyspace = database.keyspace(&name, options).map_err(failed)?;
            keyspaces.insert(name.to_string(), keyspace);
        }
        let (keyspaces, path) = (RwLock::new(keyspaces), path.to_owned());
        let unseen_bytes = AtomicU64::new(0);
        Ok(Self { keyspaces, database, journal, journal_bytes, memtable_bytes, unseen_bytes, path })
    }

    fn existing(&self, table: &str) -> Option<Keyspace> {
        self.keyspaces.read().get(table).cloned()
    }

    fn ensure(&self, table: &str) -> Result<Keyspace, EngineError> {
        if let Some(keyspace) = self.existing(table) {
            return Ok(keyspace);
        }
        let keyspace = self.database.keyspace(table, options).map_err(failed)?;
        self.keyspaces.write().insert(table.to_owned(), keyspace.clone());
        Ok(keyspace)
    }

    /// Hands each memtable that has grown large to the worker, once. Called by the one thread that
    /// writes, after `bytes` were written.
    fn write_out_large(&self, bytes: u64) -> fjall::Result<()> {
        let unseen = self.unseen_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unseen < self.memtable_bytes / 8 {
            return Ok(());
        }
        self.unseen_bytes.store(0, Ordering::Relaxed);
        for keyspace in self.keyspaces.read().values() {
            if keyspace.tree.active_memtable().size() > self.memtable_bytes {
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        let keyspaces: Vec<_> = self.keyspaces.get_mut().values().cloned().collect();
        let bytes = *self.journal_bytes.get_mut();
        if let Err(error) = self.journal.write_out(bytes, &self.database, &keyspaces) {
            tracing::warn!(%error, "memory could not be written out: the journal has it all");
        }
    }
}

/// fjall would ask its worker to write a memtable out with every commit that finds it too large.
/// While the worker compacts these requests fill its queue, and when it then wants to put work of
/// its own there it waits for ever: nothing is written out any more, and the end hangs too
/// (fjall-rs/fjall#323). So fjall is never to find one too large; [`Fjall::write_out_large`] does.
///
/// Of a table that exists, compression and block size stay as they were when it was created.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(u64::MAX)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
}

impl Engine for Fjall {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let Some(keyspace) = self.existing(table) else { return Ok(None) };
        // A read outside a snapshot could see half of the group that is being applied.
        let found = self.database.snapshot().get(&keyspace, key).map_err(failed)?;
        Ok(found.map(Bytes::from))
    }

    fn scan(
        &self,
        table: &str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let Some(keyspace) = self.existing(table) else { return Ok(Vec::new()) };
        if limit == 0 || range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(Vec::new());
        }
        let end = range.end.map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(range.start), end);
        let mut rows = self.database.snapshot().range(&keyspace, bounds);
        let row = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(failed)?;
            Ok((Bytes::from(key), Bytes::from(value)))
        };
        if reverse {
            std::iter::from_fn(|| rows.next_back()).take(limit).map(row).collect()
        } else {
            rows.take(limit).map(row).collect()
        }
    }

    fn apply(&self, writes: Vec<Write<'_>>) -> Result<(), EngineError> {
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), writes.len())
            .durability(Some(DURABLE));
        let mut bytes = 0;
        let mut last: Option<(&str, Keyspace)> = None;
        for Write { table, key, value } in writes {
            let keyspace = match &last {
                Some((name, keyspace)) if *name == table => keyspace,
                _ => &last.insert((table, self.ensure(table)?)).1,
            };
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        self.journal_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        batch.commit().map_err(failed)?;
        self.write_out_large(bytes as u64).map_err(failed)
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        // Under the lock: a table created in between would be missing from the list.
        let keyspaces = self.keyspaces.read();
        let snapshot = self.database.snapshot();
        let keyspaces = keyspaces.iter().map(|(name, found)| (name.clone(), found.clone()));
        Ok(Box::new(FjallSnapshot { keyspaces: keyspaces.collect(), snapshot }))
    }

    fn disk_bytes(&self) -> u64 {
        super::bytes_below(&self.path)
    }

    fn compact(&self) -> Result<Option<TableBytes>, EngineError> {
        let keyspaces = self.keyspaces.read().clone();
        let all: Vec<_> = keyspaces.values().cloned().collect();
        if !journal::write_out_memtables(&self.database, &all).map_err(failed)? {
            return Err(EngineError("memory is not written out in time".to_owned()));
        }
        let mut bytes = TableBytes::new();
        for (name, keyspace) in keyspaces {
            if keyspace.table_count() > 0 {
                keyspace.major_compact().map_err(failed)?;
            }
            bytes.insert(name, keyspace.disk_space());
        }
        Ok(Some(bytes))
    }
}

struct FjallSnapshot {
    keyspaces: BTreeMap<String, Keyspace>,
    snapshot: fjall::Snapshot,
}

impl EngineSnapshot for FjallSnapshot {
    fn tables(&self) -> Result<Vec<String>, EngineError> {
        let mut names = Vec::new();
        for (name, keyspace) in &self.keyspaces {
            if !self.snapshot.is_empty(keyspace).map_err(failed)? {
                names.push(name.clone());
            }
        }
        Ok(names)
    }

    fn for_each(
        &self,
        table: &str,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        let Some(keyspace) = self.keyspaces.get(table) else { return Ok(()) };
        for guard in self.snapshot.iter(keyspace) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::{Engine, Fjall, KeyRange, Write};

    fn write(fjall: &Fjall, round: u8) {
        for table in ["one", "two"] {
            let row = |number: u32| Write {
                table,
                key: number.to_be_bytes().to_vec().into(),
                value: Some(vec![round; 3000].into()),
            };
            fjall.apply((0..1000).map(row).collect()).expect("the rows are written");
        }
    }

    /// Emptying the journal must lose neither rows nor the order of what is written later.
    #[test]
    fn an_orderly_end_leaves_no_journal_and_every_row() {
        let directory = tempfile::tempdir().expect("a directory");
        for round in 0..4 {
            let fjall = Fjall::open(directory.path()).expect("it is opened");
            for table in ["one", "two"] {
                let all = KeyRange { start: Vec::new(), end: None };
                let rows = fjall.scan(table, all, false, usize::MAX).expect("read");
                assert_eq!(rows.len(), if round == 0 { 0 } else { 1000 });
                assert!(rows.iter().all(|(_, value)| value[0] == round - 1 && value.len() == 3000));
            }
            write(&fjall, round);
            let found = fjall.get("one", &7_u32.to_be_bytes()).expect("read").expect("it is there");
            assert_eq!(found[0], round, "the newest is on top");
            drop(fjall);
            assert_eq!(super::Journal::new(directory.path()).bytes(), 0, "round {round}");
        }
    }

    #[test]
    fn compacting_forgets_what_was_overwritten_and_keeps_the_rest() {
        let directory = tempfile::tempdir().expect("a directory");
        let fjall = Fjall::open_with(directory.path(), 500_000).expect("it is opened");
        for round in 0..4 {
            write(&fjall, round);
        }
        let random = |number: u32| {
            let mut state = u64::from(number) + 1;
            let noise = (0..3000).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            });
            noise.collect::<Vec<u8>>()
        };
        for _ in 0..4 {
            let row = |number: u32| Write {
                table: "noise",
                key: number.to_be_bytes().to_vec().into(),
                value: Some(random(number).into()),
            };
            fjall.apply((0..1000).map(row).collect()).expect("the rows are written");
        }
        let bytes = fjall.compact().expect("it compacts").expect("it can");
        assert_eq!(bytes.keys().collect::<Vec<_>>(), ["noise", "one", "two"]);
        // Once what cannot be compressed, not four times.
        assert!((3_000_000..3_300_000).contains(&bytes["noise"]), "{bytes:?}");
        assert!(bytes["one"] < 300_000, "{bytes:?}");
        let found = fjall.get("one", &7_u32.to_be_bytes()).expect("read").expect("it is there");
        assert_eq!(found, vec![3; 3000]);
    }

    /// Many small writes while a table is compacted must not fill the queue of fjall's worker: it
    /// waits for ever for room in a queue that only it reads.
    #[test]
    fn a_flood_of_small_writes_leaves_the_worker_alive() {
        let directory = tempfile::tempdir().expect("a directory");
        let fjall = Fjall::open_with(directory.path(), 4000).expect("it is opened");
        let (ended, end) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            let tables: Vec<String> = (0..50).map(|number| format!("table {number}")).collect();
            for number in 0..100_u32 {
                let row = |table| Write {
                    table,
                    key: number.to_be_bytes().to_vec().into(),
                    value: Some(vec![7; 2000].into()),
                };
                fjall.apply(tables.iter().map(|table| row(table)).collect()).expect("written");
            }
            drop(fjall);
            ended.send(()).expect("the test waits");
        });
        end.recv_timeout(Duration::from_secs(60)).expect("the engine ends in order");
        writer.join().expect("the writer ended");
    }
}
