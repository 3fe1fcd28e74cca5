//! A running sync of a socket: its parameters, and which of its batches are not acknowledged yet.

use std::{collections::VecDeque, time::Duration};

use accounts::Session;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::Value;
use sync::{Batch, Connection, Params, SyncError};
use tokio::time::Instant;

use super::{Query, Sockets};
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

/// The parameters of `sync.start`.
#[derive(Deserialize)]
pub(super) struct StartParams {
    mode: String,
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
            mode: "v3".to_owned(),
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
        let window = self.window.unwrap_or(WINDOW_DEFAULT);
        if (1..=WINDOW_MAX).contains(&window) {
            return Ok(window);
        }
        Err(Error::invalid_param(format!("`window` is 1 to {WINDOW_MAX}")))
    }
}

pub(super) async fn sync_params(
    sockets: &Sockets,
    session: &Session,
    params: StartParams,
) -> Result<Params, Error> {
    if params.mode != "v3" {
        return Err(Error::new(
            http::StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            format!("There is no sync mode {:?}", params.mode),
        ));
    }
    let wanted = match params.filter {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(object) => Some(object.to_string()),
    };
    let accounts = &sockets.inner.pieces.accounts;
    let json = filter_json(accounts, session, wanted.as_deref()).await?;
    Ok(Params {
        since: params.since.filter(|since| !since.is_empty()),
        filter: sockets.inner.filters.parse(&json)?,
        full_state: params.full_state,
        set_presence: presence_state(params.set_presence.as_deref())?,
        use_state_after: state_after(params.use_state_after, params.unstable_use_state_after),
    })
}

pub(super) struct Running {
    pub(super) connection: Connection,
    window: usize,
    /// Without memory of its own while it is empty.
    unacked: VecDeque<Unacked>,
}

struct Unacked {
    seq: u64,
    pos: String,
    bytes: usize,
    sent: Instant,
    newest: Vec<(OwnedRoomId, OwnedEventId)>,
}

impl Running {
    pub(super) fn new(connection: Connection, window: usize) -> Self {
        Self { connection, window, unacked: VecDeque::new() }
    }

    /// Whether one more batch may be sent.
    pub(super) fn is_open(&self) -> bool {
        let bytes: usize = self.unacked.iter().map(|batch| batch.bytes).sum();
        self.unacked.len() < self.window && (self.unacked.is_empty() || bytes < WINDOW_BYTES)
    }

    /// When the client counts as too slow.
    pub(super) fn ack_deadline(&self) -> Option<Instant> {
        self.unacked.front().map(|oldest| oldest.sent + ACK_TIME)
    }

    pub(super) fn sent(&mut self, seq: u64, batch: Batch) {
        let Batch { pos, body, newest } = batch;
        self.unacked.push_back(Unacked {
            seq,
            pos,
            bytes: body.len(),
            sent: Instant::now(),
            newest,
        });
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
            newest.extend(confirmed.iter_mut().flat_map(|batch| batch.newest.drain(..)));
        }
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
        if let Some(batch) = confirmed {
            self.connection.confirm(&batch.pos).await?;
        }
        Ok(newest)
    }
}
