//! Checking and restoring a dump; reading a whole store to verify it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use bytes::Bytes;

use super::{
    DumpError, Progress,
    files::{Restored, parse_piece},
    format::{BlockReader, End, Header, Kind, take_bytes},
};
use crate::{
    engine::{
        self, EngineError, EngineKind, Write,
        directory::{Directory, Mark},
    },
    store::{Config, SCHEMA_VERSION, Snapshot, Store},
};

/// Reads a dump to its end without restoring it. Blocks.
pub fn check(file: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<Progress, DumpError> {
    let (_, mut blocks) = open(file)?;
    each_block(&mut blocks, progress, &mut |_| Ok(()))
}

/// Builds a store in an empty data directory from a dump, with whatever engine the configuration
/// names. The dump is checked to its end before anything is written. Blocks.
///
/// With an incarnation of its own the restored store recognises tokens of the one that was dumped:
/// they may know positions that the dump does not. A move between engines that loses nothing may
/// keep the incarnation.
pub fn restore(
    file: &Path,
    config: &Config,
    incarnation: u64,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    restore_into(file, config, incarnation, None, progress)
}

/// The same, with the files of the dump below `files`, which must be empty or not there.
pub fn restore_with_files(
    file: &Path,
    config: &Config,
    incarnation: u64,
    files: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    restore_into(file, config, incarnation, Some(files), progress)
}

fn restore_into(
    file: &Path,
    config: &Config,
    incarnation: u64,
    files: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    check(file, &mut |_| {})?;
    let (header, mut blocks) = open(file)?;
    if config.engine == EngineKind::Memory {
        let reason = "a store in memory would be forgotten at once";
        return Err(EngineError(reason.to_owned()).into());
    }
    let directory = Directory::open(&config.path)?;
    if directory.holds_data() {
        return Err(DumpError::NotEmpty(config.path.clone()));
    }
    let files = files.map(Restored::new).transpose()?;
    let place = directory.engine(config.engine);
    let restored = fill(&place, config.engine, &mut blocks, files, progress);
    match restored {
        Ok(summary) => {
            directory.write_mark(&mark(config.engine, incarnation, header))?;
            Ok(summary)
        }
        Err(error) => {
            // Half a store must not be mistaken for one; the dump is still there.
            let _left_behind = std::fs::remove_dir_all(&place);
            Err(error)
        }
    }
}

/// Reads every row of every table. The engines compare what they read with their checksums;
/// whether a row makes sense is known to the crate that owns its table. Blocks.
pub fn verify(store: &Store, progress: &mut dyn FnMut(&Progress)) -> Result<Progress, DumpError> {
    let snapshot = store.snapshot()?;
    let mut done = Progress::default();
    for table in snapshot.tables()? {
        done.enter(&table);
        read_table(&snapshot, &mut done, progress)
            .map_err(|source| DumpError::Read { table, source })?;
    }
    progress(&done);
    Ok(done)
}

/// Rows between two reports of progress.
const REPORT_EVERY: u64 = 10_000;

fn read_table(
    snapshot: &Snapshot,
    done: &mut Progress,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), EngineError> {
    let table = done.table.clone();
    let mut each = |key: &[u8], value: &[u8]| {
        done.count(key, value);
        if done.rows.is_multiple_of(REPORT_EVERY) {
            progress(done);
        }
        true
    };
    // Damage that an engine did not expect may make it panic; here that is just the finding.
    let read = catch_unwind(AssertUnwindSafe(|| snapshot.for_each(&table, &mut each)));
    read.unwrap_or_else(|panic| Err(EngineError(engine::panic_text(&*panic))))
}

fn open(file: &Path) -> Result<(Header, BlockReader), DumpError> {
    let mut blocks = BlockReader::open(file)?;
    let (kind, payload) = blocks.block()?;
    let header = postcard::from_bytes::<Header>(&payload).ok();
    let header = header.filter(|_| kind == Kind::Header);
    let header = header.ok_or_else(|| blocks.damaged("the header is missing"))?;
    if header.schema != SCHEMA_VERSION {
        let path = file.to_owned();
        return Err(DumpError::UnknownSchema { path, found: header.schema });
    }
    Ok((header, blocks))
}

fn mark(engine: EngineKind, incarnation: u64, header: Header) -> Mark {
    let mut previous = header.previous;
    if header.incarnation != incarnation {
        previous.push(header.incarnation);
    }
    Mark::new(engine, incarnation, previous)
}

/// What a block holds.
enum Found<'a> {
    Rows(&'a str, Vec<(Bytes, Bytes)>),
    /// The next piece of a file.
    Piece(&'a str, &'a [u8]),
}

/// What to do with what is found.
type Take<'a> = dyn FnMut(Found<'_>) -> Result<(), DumpError> + 'a;

fn each_block(
    blocks: &mut BlockReader,
    progress: &mut dyn FnMut(&Progress),
    take: &mut Take<'_>,
) -> Result<Progress, DumpError> {
    let (mut done, mut file) = (Progress::default(), String::new());
    loop {
        let (kind, payload) = blocks.block()?;
        match kind {
            Kind::Header => return Err(blocks.damaged("there is a second header")),
            Kind::Rows => {
                let parsed = parse_rows(&payload.into(), &mut done);
                let found = parsed.ok_or_else(|| blocks.damaged("a block's rows are cut"))?;
                blocks.rows = done.rows;
                take(Found::Rows(&done.table, found))?;
                progress(&done);
            }
            Kind::File => {
                let parsed = parse_piece(&payload);
                let (name, piece) = parsed.ok_or_else(|| blocks.damaged("a file has no name"))?;
                if name != file {
                    name.clone_into(&mut file);
                    done.files += 1;
                }
                done.bytes += piece.len() as u64;
                take(Found::Piece(name, piece))?;
                progress(&done);
            }
            Kind::End => {
                let end = postcard::from_bytes::<End>(&payload).ok();
                if !end.is_some_and(|end| end.rows == done.rows && end.bytes == done.bytes) {
                    return Err(blocks.damaged("the end counts other rows"));
                }
                blocks.finish()?;
                progress(&done);
                return Ok(done);
            }
        }
    }
}

fn parse_rows(payload: &Bytes, done: &mut Progress) -> Option<Vec<(Bytes, Bytes)>> {
    let mut input = &**payload;
    done.enter(str::from_utf8(take_bytes(&mut input)?).ok()?);
    let mut rows = Vec::new();
    while !input.is_empty() {
        let (key, value) = (take_bytes(&mut input)?, take_bytes(&mut input)?);
        done.count(key, value);
        // Copies: the engine keeps some of them for long, and a slice would keep the whole block.
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
    }
    Some(rows)
}

fn fill(
    place: &Path,
    kind: EngineKind,
    blocks: &mut BlockReader,
    mut files: Option<Restored>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    let engine = engine::open(kind, place)?;
    let mut take = |found: Found<'_>| match (found, &mut files) {
        (Found::Rows(table, rows), _) => {
            let row = |(key, value)| Write { table, key, value: Some(value) };
            Ok(engine.apply(rows.into_iter().map(row).collect())?)
        }
        (Found::Piece(name, piece), Some(files)) => files.piece(name, piece),
        (Found::Piece(..), None) => Ok(()),
    };
    let summary = each_block(blocks, progress, &mut take)?;
    files.map_or(Ok(()), Restored::finish)?;
    Ok(summary)
}
