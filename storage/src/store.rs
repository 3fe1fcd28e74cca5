//! The store: typed reads, and submission of batches to the one writer.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    ahead::ReadAhead,
    ballast::DiskGuard,
    batch::Batch,
    engine::{
        Engine, EngineError, EngineKind, EngineSnapshot, KeyRange, TableBytes, directory::Directory,
    },
    key::{EncodesAs, Key, KeyError},
    log::{Log, Position},
    open::{self, Opened},
    record::{Record, RecordError},
    table::{Range, Row, Table, after_prefix, row_key},
    writer::{self, Job},
};

/// The shape of the whole database. Raised when a build can no longer be read by the one before.
pub const SCHEMA_VERSION: u32 = 1;

/// See [`Config::low_water_bytes`].
pub const DEFAULT_LOW_WATER_BYTES: u64 = 512 << 20;

/// An encoded key that is longer is refused. Specified identifiers have at most 255 bytes; the
/// engines need every page of a few keys to stay small.
pub const MAX_KEY_BYTES: usize = 3 << 10;

/// How and where the data is kept.
#[derive(Clone, Debug)]
pub struct Config {
    pub engine: EngineKind,
    /// The data directory; created if missing. Unused by the memory engine.
    pub path: PathBuf,
    /// A file of this size is kept to be sacrificed when the disk is full, so that the store can
    /// still be opened. Bytes.
    pub ballast_bytes: u64,
    /// Below this much free space writes are refused and reads go on. Bytes. 0 switches it off;
    /// the default counts as at most 5 % of the disk.
    pub low_water_bytes: u64,
}

impl Config {
    /// For tests: nothing outlives the process.
    pub fn memory() -> Self {
        Self::at(EngineKind::Memory, PathBuf::new())
    }

    pub fn at(engine: EngineKind, path: PathBuf) -> Self {
        Self { engine, path, ballast_bytes: 64 << 20, low_water_bytes: DEFAULT_LOW_WATER_BYTES }
    }
}

/// The store could not be opened. The data is untouched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {0} is in use by another process")]
    Locked(PathBuf),
    #[error(
        "the data in {path} has schema version {found}, this build knows {SCHEMA_VERSION}: use the build that wrote it, or a newer one"
    )]
    UnknownSchema { path: PathBuf, found: u32 },
    #[error("{path} holds a {found} store, but the configuration asks for {wanted}")]
    OtherEngine { path: PathBuf, found: String, wanted: String },
    #[error("cannot use the data directory {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A read failed. The data on disk does not have the expected form, or the disk does not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("table {table}: {source}")]
    Record { table: &'static str, source: RecordError },
    #[error("table {table}: {source}")]
    Key { table: &'static str, source: KeyError },
}

/// A batch was not applied; none of it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition of the batch does not hold. Somebody else was first.
    #[error("a condition of the batch does not hold")]
    Condition,
    /// The disk is nearly full: writes are refused, reads go on.
    #[error("the disk is nearly full; free some space")]
    LowSpace,
    /// A key of the batch is longer than [`MAX_KEY_BYTES`]. Input that becomes part of a key should
    /// have been limited before.
    #[error("a key of {0} bytes is too long")]
    KeyTooLong(usize),
    /// The engine failed now or earlier, or the store is closed. The process should stop.
    #[error("the store does not accept writes: {0}")]
    Failed(String),
}

#[derive(Debug)]
struct Sequencer {
    next_position: Position,
    next_ticket: u64,
    queue: Option<mpsc::UnboundedSender<Job>>,
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Log,
    pub(crate) ahead: ReadAhead,
    pub(crate) failed: AtomicBool,
    pub(crate) failure: watch::Sender<Option<String>>,
    pub(crate) flushed: watch::Sender<u64>,
    pub(crate) disk: DiskGuard,
    sequencer: Mutex<Sequencer>,
    writer: Mutex<Option<JoinHandle<()>>>,
    kind: &'static str,
    incarnation: u64,
    previous: Vec<u64>,
    directory: Option<Directory>,
}

/// A handle on the open store. Cheap to clone. The last one that goes closes the store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// The writer thread shares the store's inside, so that alone would never be dropped.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("position", &self.shared.log.position()).finish()
    }
}

/// Resolves when the batch is durable or refused.
#[must_use = "nothing is acknowledged before this resolves"]
#[derive(Debug)]
pub struct Pending {
    /// Of the batch's first fact; the others follow consecutively. For a batch without facts, the
    /// last position given out before it.
    pub position: Position,
    answer: oneshot::Receiver<Result<(), CommitError>>,
}

impl Future for Pending {
    type Output = Result<Position, CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let position = self.position;
        Pin::new(&mut self.answer).poll(cx).map(|answer| match answer {
            Ok(outcome) => outcome.map(|()| position),
            Err(_closed) => Err(CommitError::Failed("the writer has ended".to_owned())),
        })
    }
}

/// Resolves when everything that was submitted before it is durable.
#[must_use]
#[derive(Debug)]
pub struct Barrier {
    ticket: u64,
    flushed: watch::Receiver<u64>,
    failure: watch::Receiver<Option<String>>,
}

impl Barrier {
    pub async fn wait(mut self) -> Result<(), CommitError> {
        let ticket = self.ticket;
        tokio::select! {
            biased;
            reached = self.flushed.wait_for(|flushed| *flushed >= ticket) => {
                reached.map(drop).map_err(|_| CommitError::Failed("the writer has ended".to_owned()))
            }
            failed = self.failure.wait_for(Option::is_some) => {
                let reason = failed.ok().and_then(|reason| reason.clone());
                Err(CommitError::Failed(reason.unwrap_or_default()))
            }
        }
    }
}

/// A consistent view of the whole store, for backup, verification and moving between engines.
pub type Snapshot = Box<dyn EngineSnapshot>;

impl Store {
    /// Opens the store, checks its schema version and starts the writer thread.
    ///
    /// `incarnation` is used when the database is new; see [`Store::incarnation`].
    pub fn open(config: &Config, incarnation: u64) -> Result<Self, OpenError> {
        Self::start(open::open(config, incarnation)?)
            .map_err(|source| OpenError::Io { path: config.path.clone(), source })
    }

    pub(crate) fn start(opened: Opened) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            engine: opened.engine,
            log: Log::new(opened.position),
            ahead: ReadAhead::default(),
            failed: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            flushed: watch::Sender::new(0),
            disk: opened.disk,
            sequencer: Mutex::new(Sequencer {
                next_position: opened.position + 1,
                next_ticket: 1,
                queue: Some(queue),
            }),
            writer: Mutex::new(None),
            kind: opened.kind,
            incarnation: opened.incarnation,
            previous: opened.previous,
            directory: opened.directory,
        });
        let thread = writer::spawn(Arc::clone(&shared), jobs)?;
        *shared.writer.lock() = Some(thread);
        Ok(Self { _closer: Arc::new(Closer(Arc::clone(&shared))), shared })
    }

    /// Identifies this database from its creation (or restoration) on, so that a token from
    /// another one is recognised.
    pub fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    pub fn engine_name(&self) -> &'static str {
        self.shared.kind
    }

    /// The incarnations of the databases that this one was restored from, oldest first.
    pub fn previous_incarnations(&self) -> &[u64] {
        &self.shared.previous
    }

    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Reads a durable row.
    pub async fn get<T: Table>(
        &self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> Result<Option<T::Value>, ReadError> {
        let key = row_key::<T>(partition, sort);
        decode::<T>(self.shared.engine.get(T::NAME, &key)?)
    }

    /// Reads a row as the batches submitted so far leave it, durable or not. For the writer of a
    /// partition, who goes on before its last batch is flushed; never for what is shown to others.
    pub async fn get_latest<T: Table>(
        &self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> Result<Option<T::Value>, ReadError> {
        debug_assert!(T::READ_AHEAD, "{} does not keep submitted rows", T::NAME);
        let key = row_key::<T>(partition, sort);
        match self.shared.ahead.get(T::NAME, &key) {
            Some(submitted) => decode::<T>(submitted),
            None => decode::<T>(self.shared.engine.get(T::NAME, &key)?),
        }
    }

    /// Reads durable rows of one partition in the order of their sort keys.
    pub async fn scan<T: Table>(
        &self,
        partition: impl EncodesAs<T::Partition>,
        range: Range<T::Sort>,
    ) -> Result<Vec<Row<T>>, ReadError> {
        let mut base = Vec::with_capacity(64);
        partition.encode(&mut base);
        let within = |suffix: &[u8]| [base.as_slice(), suffix].concat();
        let keys = KeyRange {
            start: within(&range.start),
            end: match &range.end {
                Some(end) => Some(within(end)),
                None => after_prefix(base.clone()),
            },
        };
        let rows = self.shared.engine.scan(T::NAME, keys, range.reverse, range.limit)?;
        rows.into_iter()
            .map(|(key, value)| {
                let sort = T::Sort::decode(&mut key.get(base.len()..).unwrap_or_default())
                    .map_err(|source| ReadError::Key { table: T::NAME, source })?;
                let value = T::Value::from_bytes(&value)
                    .map_err(|source| ReadError::Record { table: T::NAME, source })?;
                Ok(Row { sort, value })
            })
            .collect()
    }

    /// Hands a batch to the writer and returns at once. Batches become durable in the order of
    /// submission. The queue is as long as there are submitters that wait; each waits for its own.
    ///
    /// `build` is called with the position of the batch's first fact, while no other batch can be
    /// submitted: it must only put together what is already computed. If it returns an error
    /// nothing is submitted.
    pub fn submit_with<E: From<CommitError>>(
        &self,
        build: impl FnOnce(Position) -> Result<Batch, E>,
    ) -> Result<Pending, E> {
        if self.shared.disk.is_low() {
            return Err(CommitError::LowSpace.into());
        }
        self.shared.submit_with(build)
    }

    /// As [`submit_with`](Self::submit_with), for a batch that does not contain its own position.
    pub fn submit(&self, batch: Batch) -> Result<Pending, CommitError> {
        self.submit_with(|_| Ok(batch))
    }

    /// For what frees space.
    pub(crate) fn submit_unguarded(&self, batch: Batch) -> Result<Pending, CommitError> {
        self.shared.submit_with(|_| Ok(batch))
    }

    /// Applies a batch and waits until it is durable.
    pub async fn commit(&self, batch: Batch) -> Result<Position, CommitError> {
        self.submit(batch)?.await
    }

    /// For answering from a row that [`get_latest`](Self::get_latest) returned: wait for this
    /// first.
    pub fn barrier(&self) -> Barrier {
        Barrier {
            ticket: self.shared.sequencer.lock().next_ticket - 1,
            flushed: self.shared.flushed.subscribe(),
            failure: self.shared.failure.subscribe(),
        }
    }

    /// Whether writes are refused at the moment because the disk is nearly full.
    pub fn is_low_on_space(&self) -> bool {
        self.shared.disk.is_low()
    }

    /// Resolves with the reason when the engine has failed and the process should stop.
    pub async fn failed(&self) -> String {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_closed) => std::future::pending().await,
        }
    }

    pub fn snapshot(&self) -> Result<Snapshot, EngineError> {
        self.shared.engine.snapshot()
    }

    pub fn disk_bytes(&self) -> u64 {
        self.shared.engine.disk_bytes()
    }

    /// See [`Engine::compact`]. Blocks.
    pub fn compact(&self) -> Result<Option<TableBytes>, EngineError> {
        self.shared.engine.compact()
    }

    /// Stops accepting batches and waits until those submitted are durable. Blocks. Reads go on.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn submit_with<E: From<CommitError>>(
        &self,
        build: impl FnOnce(Position) -> Result<Batch, E>,
    ) -> Result<Pending, E> {
        let mut sequencer = self.sequencer.lock();
        if self.failed.load(Ordering::Acquire) {
            return Err(self.failure().into());
        }
        let first = sequencer.next_position;
        let batch = build(first)?;
        if batch.longest_key > MAX_KEY_BYTES {
            return Err(CommitError::KeyTooLong(batch.longest_key).into());
        }
        let Some(queue) = &sequencer.queue else {
            return Err(CommitError::Failed("the store is closed".to_owned()).into());
        };
        let (ticket, facts) = (sequencer.next_ticket, batch.facts.len() as u64);
        self.ahead.insert(ticket, batch.ahead());
        let (answer, pending) = oneshot::channel();
        // If the writer has ended, `pending` says so.
        let _ended = queue.send(Job { ticket, first, batch, answer });
        sequencer.next_ticket += 1;
        sequencer.next_position += facts;
        let position = if facts == 0 { first - 1 } else { first };
        Ok(Pending { position, answer: pending })
    }

    fn failure(&self) -> CommitError {
        let reason = self.failure.borrow().clone();
        CommitError::Failed(reason.unwrap_or_else(|| "the engine failed earlier".to_owned()))
    }

    /// Nothing more is accepted, and everybody who waits for it is told.
    pub(crate) fn fail(&self, reason: &str) {
        self.failed.store(true, Ordering::Release);
        self.failure.send_replace(Some(reason.to_owned()));
    }

    fn close(&self) {
        self.sequencer.lock().queue = None;
        let Some(thread) = self.writer.lock().take() else { return };
        // A panic of the writer has already been reported through `failed`.
        let _panicked = thread.join();
        if let Some(directory) = &self.directory
            && let Err(error) = directory.note_reached(self.log.position())
        {
            tracing::warn!(%error, "it could not be noted how far the log has come");
        }
    }
}

fn decode<T: Table>(value: Option<Bytes>) -> Result<Option<T::Value>, ReadError> {
    value
        .map(|bytes| T::Value::from_bytes(&bytes))
        .transpose()
        .map_err(|source| ReadError::Record { table: T::NAME, source })
}

#[cfg(test)]
mod tests;
