//! The engine `sled`, used so that nothing acknowledged is lost.
//!
//! Measured: without `flush` a killed process loses acknowledged writes; with `flush` alone a power
//! failure still does, since sled does not sync its file; what sled puts into `blobs/` it never
//! syncs. So each group is one batch on one tree, then a flush, then a sync of the file; and values
//! are cut into pieces small enough that no page ever becomes a blob.
//!
//! sled shows rows before they are flushed and has no snapshots. Both are made up for by keeping
//! what a group overwrites until it is on disk, or until the last snapshot from before it is gone.

mod overlay;

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sled::{IVec, Tree};

use self::overlay::{Kept, Overlay, merged};
use super::{Engine, EngineError, EngineSnapshot, KeyRange, Write};

/// Pages of more than a quarter of it become blobs. An inner page has up to 257 keys, so with the
/// longest ones 800 KiB; a leaf has about twenty rows, so with a whole piece in each 400 KiB. Part
/// of the format: sled does not open a database with another one.
const SEGMENT_BYTES: usize = 4 << 20;
/// Longer values are cut. Part of the format.
const PIECE_BYTES: usize = 16 << 10;
const CACHE_BYTES: u64 = 32 << 20;
/// Rows of a snapshot read at a time: the writer waits that long.
const SNAPSHOT_PAGE: usize = 256;
/// Starts the key of every piece after the first. No table's name does.
const PIECE: u8 = 1;
/// Starts where rows begin.
const ROWS: &[u8] = &[PIECE + 1];

/// What sled says of a file that is held.
const LOCKED: &str = "could not acquire lock";
/// Together two seconds.
const LOCK_WAITS: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

fn failed(error: sled::Error) -> EngineError {
    EngineError(error.to_string())
}

pub(crate) struct Sled {
    rows: Rows,
    /// Read-locked while rows are read: a group of batches becomes visible at once.
    state: RwLock<State>,
    db: sled::Db,
    /// Our own handle on sled's file, to sync it.
    file: File,
    path: PathBuf,
}

#[derive(Default)]
struct State {
    /// What the group that is being flushed has overwritten. Readers see this.
    in_flight: Overlay,
    snapshots: Vec<Weak<Mutex<Kept>>>,
}

impl Sled {
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let config = sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = open_when_free(&config)?;
        let io = |error: std::io::Error| EngineError(error.to_string());
        let file = File::open(path.join("db")).map_err(io)?;
        File::open(path.join("conf")).and_then(|conf| conf.sync_all()).map_err(io)?;
        File::open(path).and_then(|directory| directory.sync_all()).map_err(io)?;
        let rows = Rows((*db).clone());
        Ok(Self { rows, state: RwLock::default(), db, file, path: path.to_owned() })
    }

    /// The new rows, and what they overwrite.
    fn prepare(&self, writes: Vec<Write<'_>>) -> Result<(sled::Batch, Overlay), EngineError> {
        let mut batch = sled::Batch::default();
        let mut overwritten = Overlay::new();
        let mut latest = HashMap::with_capacity(writes.len());
        for write in writes {
            latest.insert(row_key(write.table, &write.key), write.value);
        }
        for (key, value) in latest {
            let old = self.rows.get(&key)?;
            let old_pieces = old.as_ref().map_or(0, |old| old.len() / PIECE_BYTES);
            let new_pieces = put(&mut batch, &key, value.as_deref());
            for index in new_pieces + 1..=old_pieces {
                batch.remove(piece_key(&key, index));
            }
            overwritten.insert(key, old);
        }
        Ok((batch, overwritten))
    }
}

/// sled writes in threads of its own, which may hold the file for a moment after the database was
/// dropped. Nobody else is in our directory: that has a lock of its own.
fn open_when_free(config: &sled::Config) -> Result<sled::Db, EngineError> {
    let mut waits = LOCK_WAITS;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if waits > 0 && error.to_string().contains(LOCKED) => {
                waits -= 1;
                std::thread::sleep(LOCK_WAIT);
            }
            opened => return opened.map_err(failed),
        }
    }
}

/// Adds a row to a batch and returns how many pieces it has besides the first.
fn put(batch: &mut sled::Batch, key: &[u8], value: Option<&[u8]>) -> usize {
    let Some(value) = value else {
        batch.remove(key);
        return 0;
    };
    let (first, mut rest) = value.split_at(value.len().min(PIECE_BYTES));
    batch.insert(key, first);
    // The last piece is shorter than the others, so that a reader knows it, if need be empty.
    let pieces = value.len() / PIECE_BYTES;
    for index in 1..=pieces {
        let (piece, after) = rest.split_at(rest.len().min(PIECE_BYTES));
        batch.insert(piece_key(key, index), piece);
        rest = after;
    }
    pieces
}

fn row_key(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}

fn piece_key(row: &[u8], index: usize) -> Vec<u8> {
    [&[PIECE], row, &(index as u32).to_be_bytes()].concat()
}

/// The tree, with the cutting of values undone.
#[derive(Clone)]
struct Rows(Tree);

impl Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let first = self.0.get(key).map_err(failed)?;
        first.map(|first| self.whole(key, &first)).transpose()
    }

    fn whole(&self, key: &[u8], first: &[u8]) -> Result<Bytes, EngineError> {
        if first.len() < PIECE_BYTES {
            return Ok(Bytes::copy_from_slice(first));
        }
        let mut value = first.to_vec();
        for index in 1.. {
            let piece = self.0.get(piece_key(key, index)).map_err(failed)?;
            let piece = piece.ok_or_else(|| EngineError("a value is incomplete".to_owned()))?;
            value.extend_from_slice(&piece);
            if piece.len() < PIECE_BYTES {
                break;
            }
        }
        Ok(value.into())
    }

    /// Rows in a range, as they were before what the overlay holds was overwritten.
    fn scan(
        &self,
        overlay: &Overlay,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, EngineError> {
        let kept = overlay.range::<Vec<u8>, _>((range.0.as_ref(), range.1.as_ref()));
        let kept = kept.map(|(key, value)| (key.as_slice(), value));
        let rows = self.0.range(range.clone());
        let row = |row: Result<(IVec, IVec), sled::Error>| row.map_err(failed);
        let whole = |key: &[u8], first: &[u8]| self.whole(key, first);
        if reverse {
            merged(rows.rev().map(row), kept.rev(), true, whole).take(limit).collect()
        } else {
            merged(rows.map(row), kept, false, whole).take(limit).collect()
        }
    }
}

impl Engine for Sled {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let key = row_key(table, key);
        let state = self.state.read();
        match state.in_flight.get(&key) {
            Some(before) => Ok(before.clone()),
            None => self.rows.get(&key),
        }
    }

    fn scan(
        &self,
        table: &str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(Vec::new());
        }
        let prefix = row_key(table, &[]);
        let start = Bound::Included([prefix.as_slice(), &range.start].concat());
        let end = match range.end {
            Some(end) => [prefix.as_slice(), &end].concat(),
            None => after_table(table),
        };
        let state = self.state.read();
        let rows = (start, Bound::Excluded(end));
        let rows = self.rows.scan(&state.in_flight, rows, reverse, limit)?;
        drop(state);
        let strip = |(key, value)| (Bytes::from(key).slice(prefix.len()..), value);
        Ok(rows.into_iter().map(strip).collect())
    }

    fn apply(&self, writes: Vec<Write<'_>>) -> Result<(), EngineError> {
        // Nobody else writes, so what is overwritten can be read before readers are kept out.
        let (batch, overwritten) = self.prepare(writes)?;
        let mut state = self.state.write();
        state.snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        for snapshot in state.snapshots.iter().filter_map(Weak::upgrade) {
            snapshot.lock().keep(&overwritten);
        }
        state.in_flight = overwritten;
        let applied = self.rows.0.apply_batch(batch);
        drop(state);
        applied.and_then(|()| self.db.flush().map(drop)).map_err(failed)?;
        self.file.sync_data().map_err(|error| EngineError(error.to_string()))?;
        self.state.write().in_flight = Overlay::new();
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        let mut state = self.state.write();
        let mut kept = Kept::default();
        kept.keep(&state.in_flight);
        let kept = Arc::new(Mutex::new(kept));
        state.snapshots.push(Arc::downgrade(&kept));
        Ok(Box::new(SledSnapshot { rows: self.rows.clone(), kept }))
    }

    fn disk_bytes(&self) -> u64 {
        super::bytes_below(&self.path)
    }
}

/// The key after all rows of a table.
fn after_table(table: &str) -> Vec<u8> {
    [table.as_bytes(), &[1]].concat()
}

struct SledSnapshot {
    rows: Rows,
    /// Locked by the writer before it changes rows, and here while they are read.
    kept: Arc<Mutex<Kept>>,
}

impl SledSnapshot {
    fn page(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        limit: usize,
    ) -> Result<Page, EngineError> {
        let kept = self.kept.lock();
        self.rows.scan(kept.overlay()?, range, false, limit)
    }

    /// Names of tables that have rows in the tree now or had some, in order.
    fn candidates(&self) -> Result<BTreeSet<Vec<u8>>, EngineError> {
        let kept = self.kept.lock();
        let mut names: BTreeSet<_> = kept.overlay()?.keys().map(|key| name_of(key)).collect();
        let mut start = ROWS.to_vec();
        while let Some(row) = self.rows.0.range(start..).next() {
            let name = name_of(&row.map_err(failed)?.0);
            start = [name.as_slice(), &[1]].concat();
            names.insert(name);
        }
        Ok(names)
    }
}

type Page = Vec<(Vec<u8>, Bytes)>;

fn name_of(key: &[u8]) -> Vec<u8> {
    key.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

impl EngineSnapshot for SledSnapshot {
    fn tables(&self) -> Result<Vec<String>, EngineError> {
        let mut used = Vec::new();
        for name in self.candidates()? {
            let name = String::from_utf8(name)
                .map_err(|_| EngineError("a table's name is damaged".to_owned()))?;
            let rows = (Bound::Included(row_key(&name, &[])), Bound::Excluded(after_table(&name)));
            if !self.page(rows, 1)?.is_empty() {
                used.push(name);
            }
        }
        Ok(used)
    }

    fn for_each(
        &self,
        table: &str,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        let prefix = row_key(table, &[]);
        let mut start = Bound::Included(prefix.clone());
        loop {
            let end = Bound::Excluded(after_table(table));
            let page = self.page((start, end), SNAPSHOT_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            start = Bound::Excluded(last.clone());
            for (key, value) in &page {
                if !each(&key[prefix.len()..], value) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Engine, PIECE_BYTES, Sled, Write};
    use crate::store::MAX_KEY_BYTES;

    /// sled does not sync blobs, so there must be none, whatever is written.
    #[test]
    fn no_page_becomes_a_blob() {
        let directory = tempfile::tempdir().expect("a directory");
        let sled = Sled::open(directory.path()).expect("a new database");
        for round in 0..250_u8 {
            let row = |number: u8| {
                // The longest keys share little, so that pages hold them in full.
                let mut key = vec![number.wrapping_mul(37); MAX_KEY_BYTES];
                key[0] = number.wrapping_mul(91);
                key[MAX_KEY_BYTES - 1] = round;
                let length = if number == 0 { 3 * PIECE_BYTES - 1 } else { 1 };
                Write { table: "t", key: key.into(), value: Some(vec![number; length].into()) }
            };
            sled.apply((0..16).map(row).collect()).expect("the rows are written");
        }
        let blobs = std::fs::read_dir(directory.path().join("blobs")).expect("the directory");
        assert_eq!(blobs.count(), 0);
    }

    #[test]
    fn a_file_that_is_held_for_a_moment_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = Sled::open(directory.path()).expect("it is opened");
        let (going, gone) = std::sync::mpsc::channel();
        let path = directory.path().to_owned();
        let second = std::thread::spawn(move || {
            going.send(()).expect("the test waits");
            Sled::open(&path).map(drop)
        });
        gone.recv().expect("the thread has begun");
        drop(held);
        second.join().expect("no panic").expect("it is opened once it is free");
    }
}
