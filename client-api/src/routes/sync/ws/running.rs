//! A running sync of a socket: its parameters, and which of its batches are not acknowledged yet.

use std::{collections::VecDeque, time::Duration};

use accounts::Session;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::Value;
use storage::Position;
use sync::{Batch, Connection, Params, SlidingConnection, SyncError};
use tokio::time::Instant;

use super::{Query, Sockets, delivered};
use crate::{
    error::Error,
    routes::sync::{filter_json, presence_state, state_after},
};

/// With a batch outstanding, an acknowledgement has to come within this time.
const ACK_TIME: Duration = Duration::from_secs(60);
/// Unacknowledged bytes; one batch may be larger alone.
const WINDOW_BYTES: usize = 1 << 20;
const WINDOW_DEFAULT: usize = 2;
const WINDOW_MAX: usize = 8;

/// The parameters of `sync.start` in the mode `v3`.
#[derive(Deserialize)]
pub(super) struct StartParams {
    since: Option<String>,
    /// An id, or the filter itself.
    filter: Option<Value>,
    #[serde(default)]
    full_state: bool,
    set_presence: Option<String>,
    use_state_after: Option<bool>,
    #[serde(rename = "org.matrix.msc4222.use_state_after")]
    unstable_use_state_after: Option<bool>,
    window: Option<usize>,
}

impl From<Query> for Option<Box<StartParams>> {
    fn from(query: Query) -> Self {
        Some(Box::new(StartParams {
            since: query.since,
            filter: query.filter.map(Value::String),
            full_state: query.full_state,
            set_presence: query.presence,
            use_state_after: None,
            unstable_use_state_after: None,
            window: None,
        }))
    }
}

impl StartParams {
    pub(super) fn window(&self) -> Result<usize, Error> {
        checked_window(self.window)
    }
}

/// How many batches may be on their way.
pub(super) fn checked_window(asked: Option<usize>) -> Result<usize, Error> {
    let window = asked.unwrap_or(WINDOW_DEFAULT);
    if (1..=WINDOW_MAX).contains(&window) {
        return Ok(window);
    }
    Err(Error::invalid_param(format!("`window` is 1 to {WINDOW_MAX}")))
}

pub(super) async fn sync_params(
    sockets: &Sockets,
    session: &Session,
    params: StartParams,
) -> Result<Params, Error> {
    let wanted = match params.filter {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(object) => Some(object.to_string()),
    };
    let accounts = &sockets.inner.pieces.accounts;
    let json = filter_json(accounts, session, wanted.as_deref()).await?;
    Ok(Params {
        since: params.since.filter(|since| !since.is_empty()),
        filter: sockets.parse_filter(&json)?,
        full_state: params.full_state,
        set_presence: presence_state(params.set_presence.as_deref())?,
        use_state_after: state_after(params.use_state_after, params.unstable_use_state_after),
    })
}

/// Where the batches come from.
pub(super) enum Stream {
    V3(Connection),
    Sliding(Box<SlidingConnection>),
}

impl Stream {
    async fn next(&mut self) -> Result<Batch, SyncError> {
        match self {
            Self::V3(connection) => connection.next().await,
            Self::Sliding(connection) => connection.next().await,
        }
    }

    async fn confirm(&mut self, batch: &Batch) -> Result<(), SyncError> {
        match self {
            Self::V3(connection) => connection.confirm(batch).await,
            Self::Sliding(connection) => connection.confirm(batch).await,
        }
    }

    /// Resolves when the sync has to end, whether or not batches may be sent.
    async fn superseded(&self) {
        match self {
            Self::V3(_) => std::future::pending().await,
            Self::Sliding(connection) => connection.superseded().await,
        }
    }

    /// Up to where the user's account data has changed.
    pub(super) fn account_data(&self) -> Position {
        match self {
            Self::V3(connection) => connection.account_data(),
            Self::Sliding(connection) => connection.account_data(),
        }
    }

    /// Where the sync is after the last batch.
    pub(super) fn pos(&self) -> Option<String> {
        match self {
            Self::V3(connection) => connection.pos(),
            Self::Sliding(connection) => connection.pos(),
        }
    }
}

pub(super) struct Running {
    pub(super) stream: Stream,
    window: usize,
    /// Without memory of its own while it is empty.
    unacked: VecDeque<Unacked>,
    pub(super) delivered: delivered::Wanted,
}

struct Unacked {
    seq: u64,
    bytes: usize,
    sent: Instant,
    /// Without its body: if the client comes again, it is computed again.
    batch: Batch,
}

impl Running {
    pub(super) fn new(stream: Stream, window: usize) -> Self {
        Self { stream, window, unacked: VecDeque::new(), delivered: delivered::Wanted::default() }
    }

    /// Waits until there is something to send and the window is open. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Batch, SyncError> {
        if self.is_open() {
            return self.stream.next().await;
        }
        self.stream.superseded().await;
        Err(SyncError::Superseded)
    }

    /// Whether one more batch may be sent.
    fn is_open(&self) -> bool {
        let bytes: usize = self.unacked.iter().map(|batch| batch.bytes).sum();
        self.unacked.len() < self.window && (self.unacked.is_empty() || bytes < WINDOW_BYTES)
    }

    /// When the client counts as too slow.
    pub(super) fn ack_deadline(&self) -> Option<Instant> {
        self.unacked.front().map(|oldest| oldest.sent + ACK_TIME)
    }

    pub(super) fn sent(&mut self, seq: u64, mut batch: Batch) {
        let bytes = std::mem::take(&mut batch.body).len();
        self.unacked.push_back(Unacked { seq, bytes, sent: Instant::now(), batch });
    }

    /// Takes an acknowledgement of all batches up to `seq`. Returns the newest event of others in
    /// each of their rooms.
    pub(super) async fn acknowledge(
        &mut self,
        seq: u64,
    ) -> Result<Vec<(OwnedRoomId, OwnedEventId)>, SyncError> {
        let mut confirmed = None;
        let mut newest = Vec::new();
        while self.unacked.front().is_some_and(|batch| batch.seq <= seq) {
            confirmed = self.unacked.pop_front();
            newest.extend(confirmed.iter_mut().flat_map(|sent| sent.batch.newest.drain(..)));
        }
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
        if let Some(Unacked { batch, .. }) = confirmed {
            self.stream.confirm(&batch).await?;
        }
        Ok(newest)
    }
}
