//! Opening a data directory: whose it is, what is in it, where its log ends.

use std::sync::Arc;

use crate::{
    ballast::DiskGuard,
    engine::{
        self, Engine, EngineError, EngineKind, KeyRange,
        directory::{Directory, Mark},
    },
    key::{EncodesAs, Key},
    log::{Facts, HighWater, HighWaters, Position, WRITER},
    record::Record,
    store::{Config, OpenError},
    table::{Table, after_prefix, row_key},
};

/// What opening the data directory yields.
pub(crate) struct Opened {
    pub(crate) engine: Arc<dyn Engine>,
    /// The last position that was given out.
    pub(crate) position: Position,
    /// The engine's name.
    pub(crate) kind: &'static str,
    pub(crate) incarnation: u64,
    pub(crate) previous: Vec<u64>,
    pub(crate) disk: DiskGuard,
    /// Locked as long as the store is open. `None` in memory.
    pub(crate) directory: Option<Directory>,
}

pub(crate) fn open(config: &Config, incarnation: u64) -> Result<Opened, OpenError> {
    if config.engine == EngineKind::Memory {
        let engine = engine::open(config.engine, &config.path)?;
        return Ok(over(engine, 0, incarnation));
    }
    let directory = Directory::open(&config.path)?;
    let mark = directory.mark_for(config.engine)?;
    let disk = DiskGuard::new(config);
    let engine = open_engine(config, &directory, &disk)?;
    let mark = match mark {
        Some(mark) => mark,
        None => first_mark(config, &directory, &*engine, incarnation)?,
    };
    let position = last_position(&*engine)?;
    if position < mark.reached {
        let (path, reached) = (directory.path().display(), mark.reached);
        let reason = format!(
            "{path}: data is missing: the log ends at {position} but had reached {reached}"
        );
        return Err(EngineError(reason).into());
    }
    Ok(Opened {
        engine,
        position,
        kind: config.engine.name(),
        incarnation: mark.incarnation,
        previous: mark.previous,
        disk,
        directory: Some(directory),
    })
}

/// A store on an engine that needs no directory.
pub(crate) fn over(engine: Arc<dyn Engine>, position: Position, incarnation: u64) -> Opened {
    let disk = DiskGuard::unlimited();
    let kind = EngineKind::Memory.name();
    Opened { engine, position, kind, incarnation, previous: Vec::new(), disk, directory: None }
}

/// An engine may need space to recover. If it cannot be opened and the disk is nearly full, the
/// ballast goes and it gets a second chance; writes stay refused until there is space again.
fn open_engine(
    config: &Config,
    directory: &Directory,
    disk: &DiskGuard,
) -> Result<Arc<dyn Engine>, OpenError> {
    let path = directory.engine(config.engine);
    match engine::open(config.engine, &path) {
        Err(error) if disk.sacrifice_ballast() => {
            tracing::warn!(%error, "the disk is full: the ballast file is given up to open the store");
            engine::open(config.engine, &path)
        }
        outcome => outcome,
    }
}

fn first_mark(
    config: &Config,
    directory: &Directory,
    engine: &dyn Engine,
    incarnation: u64,
) -> Result<Mark, OpenError> {
    if !engine.snapshot()?.tables()?.is_empty() {
        let reason = "there is data without the file meridian-store: a restore was interrupted";
        return Err(EngineError(format!("{}: {reason}", directory.path().display())).into());
    }
    let mark = Mark::new(config.engine, incarnation, Vec::new());
    directory.write_mark(&mark)?;
    Ok(mark)
}

/// The log may have been pruned, and positions may have been given out to batches that failed; the
/// high-water row knows what the log's tail does not.
fn last_position(engine: &dyn Engine) -> Result<Position, OpenError> {
    let mut start = Vec::new();
    WRITER.encode(&mut start);
    let range = KeyRange { start: start.clone(), end: after_prefix(start) };
    let tail = engine.scan(Facts::NAME, range, true, 1)?;
    let logged = tail.first().map(|(key, _)| <(u32, u64)>::decode(&mut &**key)).transpose();
    let logged = logged.map_err(|error| EngineError(format!("the log: {error}")))?;
    let row = engine.get(HighWaters::NAME, &row_key::<HighWaters>(WRITER, ()))?;
    let high_water = row.map(|bytes| HighWater::from_bytes(&bytes)).transpose();
    let high_water = high_water.map_err(|error| EngineError(format!("the log: {error}")))?;
    Ok(logged.map_or(0, |(_, position)| position).max(high_water.map_or(0, |row| row.position)))
}
