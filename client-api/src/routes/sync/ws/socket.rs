//! One socket: its frames, its sync, its requests in flight, and how it ends.
//!
//! The server keeps no outbound queue. While the window of unacknowledged batches is full nothing
//! is computed; when it opens, one batch is made from what was sent last to now. A slow client
//! gets fewer, larger batches, never a growing buffer.
//!
//! An idle socket is this struct, a timer and a waiter: what is only needed while something
//! happens is boxed and made when it does.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use accounts::Session;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::Deserialize;
use serde_json::{Value, json};
use sync::{Batch, Connection, Params, SyncError};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Pieces, Query, Sockets,
    frame::{self, Incoming, Request},
    methods,
};
use crate::{
    error::Error,
    routes::sync::{filter, presence_state, state_after},
};

/// The first frame has to authenticate within this time.
const AUTH_TIME: Duration = Duration::from_secs(10);
/// Between two pings of the server. nginx closes what is silent for 60 s.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Pings in a row that may go unanswered.
const PINGS_MISSED_MAX: u8 = 2;
/// A write that takes longer means that the client does not read.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// With a batch outstanding, an acknowledgement has to come within this time.
const ACK_TIME: Duration = Duration::from_secs(60);
/// Unacknowledged bytes; one batch may be larger alone.
const WINDOW_BYTES: usize = 1 << 20;
const WINDOW_DEFAULT: usize = 2;
const WINDOW_MAX: usize = 8;
/// Requests of one socket that are carried out at a time.
const IN_FLIGHT_MAX: usize = 20;
/// Frames of one socket per second before it is closed.
const FRAMES_PER_SECOND_MAX: u32 = 200;
/// How long before its end a client is told that its token expires.
const EXPIRY_NOTICE: Duration = Duration::from_secs(60);

/// How batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `{"method":"sync","seq":…,"data":…}`, acknowledged.
    Enveloped,
    /// The 2015 draft: the bare sync response, and no acknowledgements.
    Draft,
}

/// What the handshake found.
pub(super) struct Start {
    pub(super) mode: Mode,
    pub(super) session: Option<Session>,
    pub(super) query: Option<Box<StartParams>>,
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

/// Why a socket ends.
enum End {
    /// The client is gone.
    Gone,
    Close {
        code: u16,
        reason: &'static str,
    },
    /// The server stops.
    Restart,
}

const PROTOCOL_ERROR: End = End::Close { code: 4000, reason: "protocol error" };
const REPLACED: End = End::Close { code: 4001, reason: "connection replaced" };
const NO_AUTH: End = End::Close { code: 4003, reason: "authentication missing or late" };
const UNKNOWN_TOKEN: End = End::Close { code: 4004, reason: "unknown token" };
const SOFT_LOGOUT: End = End::Close { code: 4005, reason: "the access token has expired" };
const SLOW: End = End::Close { code: 4008, reason: "slow consumer" };
const TOO_FAST: End = End::Close { code: 4029, reason: "too many frames" };
const TOO_BIG: End = End::Close { code: 1009, reason: "message too big" };

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A running sync.
struct Running {
    connection: Connection,
    /// Where the client is, or will be once it has read what was sent.
    pos: Option<String>,
    window: usize,
    next_seq: u64,
    unacked: VecDeque<Unacked>,
}

struct Unacked {
    seq: u64,
    pos: String,
    bytes: usize,
    sent: Instant,
}

impl Running {
    fn is_open(&self) -> bool {
        let bytes: usize = self.unacked.iter().map(|batch| batch.bytes).sum();
        self.unacked.len() < self.window && (self.unacked.is_empty() || bytes < WINDOW_BYTES)
    }
}

struct Socket {
    sockets: Sockets,
    websocket: WebSocket,
    mode: Mode,
    running: Option<Box<Running>>,
    in_flight: FuturesUnordered<Boxed<Option<String>>>,
    pings_missed: u8,
    next_ping: Instant,
    expiry_told: bool,
    /// Frames in the second that began at the instant.
    frames: (Instant, u32),
}

/// Drives a socket to its end.
pub(super) async fn run(sockets: Sockets, websocket: WebSocket, start: Start) {
    let now = Instant::now();
    let mut socket = Socket {
        sockets,
        websocket,
        mode: start.mode,
        running: None,
        in_flight: FuturesUnordered::new(),
        pings_missed: 0,
        next_ping: now + PING_INTERVAL,
        expiry_told: false,
        frames: (now, 0),
    };
    let end = match Box::pin(socket.open(start)).await {
        Ok(session) => socket.serve(session).await,
        Err(end) => end,
    };
    Box::pin(socket.close(end)).await;
}

impl Socket {
    fn pieces(&self) -> &Pieces {
        &self.sockets.inner.pieces
    }

    /// Authenticates, and starts the sync of the draft.
    async fn open(&mut self, start: Start) -> Result<Session, End> {
        let session = match start.session {
            Some(session) => session,
            None => match timeout(AUTH_TIME, self.first_frame()).await {
                Ok(session) => session?,
                Err(_elapsed) => return Err(NO_AUTH),
            },
        };
        if let (Mode::Draft, Some(params)) = (self.mode, start.query) {
            self.start_sync(&session, *params).await.map_err(|_refused| PROTOCOL_ERROR)?;
        }
        Ok(session)
    }

    /// Without a header or a ticket the first frame has to be `auth`.
    async fn first_frame(&mut self) -> Result<Session, End> {
        loop {
            let text = match self.websocket.recv().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => return Err(PROTOCOL_ERROR),
                Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
                Some(Err(error)) => return Err(receive_error(&error)),
            };
            let Ok(Incoming::Request(request)) = frame::read(&text) else { return Err(NO_AUTH) };
            if request.method != "auth" {
                return Err(NO_AUTH);
            }
            return match self.authenticate(&request) {
                Ok(session) => {
                    self.answer(&request, Ok(auth_result(&session, self.now_ms()))).await?;
                    Ok(session)
                }
                Err(error) => {
                    let soft = error.to_json()["soft_logout"] == json!(true);
                    self.answer(&request, Err(error)).await?;
                    Err(if soft { SOFT_LOGOUT } else { UNKNOWN_TOKEN })
                }
            };
        }
    }

    fn now_ms(&self) -> u64 {
        self.pieces().gate.now_ms()
    }

    fn authenticate(&self, request: &Request) -> Result<Session, Error> {
        #[derive(Deserialize)]
        struct Auth {
            access_token: Option<String>,
        }
        let auth: Auth = methods::read(&request.params)?;
        let token = auth.access_token.ok_or_else(Error::missing_token)?;
        self.pieces().gate.session(&token)
    }

    /// The life of an authenticated socket.
    async fn serve(&mut self, mut session: Session) -> End {
        let sockets = self.sockets.clone();
        let place = sockets.inner.registry.enter(&session);
        let stopping = sockets.inner.pieces.tasks.stop_token();
        let mut ended = session_ended(&sockets, &session);
        loop {
            let deadline = self.deadline(&session);
            let waits = self.running.as_ref().is_some_and(|running| running.is_open());
            let step = tokio::select! {
                message = self.websocket.recv() => Step::Message(message),
                Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    Step::Answer(answer)
                }
                batch = next_batch(&mut self.running), if waits => Step::Batch(batch),
                () = sleep_until(deadline) => Step::Timer,
                () = place.replaced() => return REPLACED,
                () = &mut ended => return UNKNOWN_TOKEN,
                () = stopping.cancelled() => return End::Restart,
            };
            let went = match step {
                Step::Message(message) => {
                    let was = session.id;
                    let went = self.message(&mut session, message).await;
                    if session.id != was {
                        ended = session_ended(&sockets, &session);
                    }
                    went
                }
                Step::Answer(Some(answer)) => self.write(Message::Text(answer.into())).await,
                Step::Answer(None) => Ok(()),
                Step::Batch(batch) => Box::pin(self.batch(batch)).await,
                Step::Timer => Box::pin(self.timer(&session)).await,
            };
            if let Err(end) = went {
                return end;
            }
        }
    }

    /// When the next thing happens by itself.
    fn deadline(&self, session: &Session) -> Instant {
        let acked = self.running.as_ref().and_then(|running| running.unacked.front());
        let mut next = self.next_ping;
        if let Some(oldest) = acked {
            next = next.min(oldest.sent + ACK_TIME);
        }
        if let Some(left) = self.token_left(session) {
            let notice = if self.expiry_told { left } else { left.saturating_sub(EXPIRY_NOTICE) };
            next = next.min(Instant::now() + notice);
        }
        next
    }

    /// For how long the token is still good, if it expires at all.
    fn token_left(&self, session: &Session) -> Option<Duration> {
        let expires_at = session.expires_at?;
        Some(Duration::from_millis(expires_at.saturating_sub(self.now_ms())))
    }

    async fn timer(&mut self, session: &Session) -> Result<(), End> {
        let now = Instant::now();
        let oldest = self.running.as_ref().and_then(|running| running.unacked.front());
        if oldest.is_some_and(|oldest| oldest.sent + ACK_TIME <= now) {
            return Err(SLOW);
        }
        if let Some(left) = self.token_left(session) {
            if left.is_zero() {
                return Err(SOFT_LOGOUT);
            }
            if left <= EXPIRY_NOTICE && !self.expiry_told {
                self.expiry_told = true;
                let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let notice = json!({ "method": "token_expiring", "expires_in_ms": left });
                self.write(Message::Text(notice.to_string().into())).await?;
            }
        }
        if now >= self.next_ping {
            if self.pings_missed >= PINGS_MISSED_MAX {
                return Err(End::Gone);
            }
            self.pings_missed += 1;
            self.next_ping = now + PING_INTERVAL;
            self.write(Message::Ping(bytes::Bytes::new())).await?;
        }
        Ok(())
    }

    async fn message(
        &mut self,
        session: &mut Session,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<(), End> {
        self.pings_missed = 0;
        self.count_frame()?;
        match message {
            Some(Ok(Message::Text(text))) => Box::pin(self.text(session, &text)).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(PROTOCOL_ERROR),
            Some(Ok(Message::Close(_))) | None => Err(End::Gone),
            Some(Err(error)) => Err(receive_error(&error)),
        }
    }

    fn count_frame(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let (since, count) = &mut self.frames;
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > FRAMES_PER_SECOND_MAX { Err(TOO_FAST) } else { Ok(()) }
    }

    async fn text(&mut self, session: &mut Session, text: &str) -> Result<(), End> {
        let request = match frame::read(text) {
            Ok(Incoming::Request(request)) => request,
            Ok(Incoming::Ignored) => return Ok(()),
            Err(answer) => return self.write(Message::Text(answer.into())).await,
        };
        match request.method.as_str() {
            "auth" => self.authenticate_again(session, &request).await,
            "sync.start" => {
                let outcome = match methods::read(&request.params) {
                    Ok(params) => self.start_sync(session, params).await,
                    Err(error) => Err(error),
                };
                self.answer(&request, outcome).await
            }
            "sync.ack" => {
                let outcome = self.acknowledge(&request).await;
                match (&request.id, &outcome) {
                    (None, Ok(_)) => Ok(()),
                    _ => self.answer(&request, outcome).await,
                }
            }
            "sync.stop" => {
                let outcome = self.stop_sync();
                self.answer(&request, outcome).await
            }
            _ => {
                self.call(session, request);
                Ok(())
            }
        }
    }

    /// Swaps in a refreshed token of the same device.
    async fn authenticate_again(
        &mut self,
        session: &mut Session,
        request: &Request,
    ) -> Result<(), End> {
        match self.authenticate(request) {
            Ok(new) if new.user_id == session.user_id && new.device_id == session.device_id => {
                *session = new;
                self.expiry_told = false;
                self.answer(request, Ok(auth_result(session, self.now_ms()))).await
            }
            Ok(_other_device) => Err(NO_AUTH),
            Err(error) => self.answer(request, Err(error)).await,
        }
    }

    /// Starts the sync, in place of one that may be running.
    async fn start_sync(&mut self, session: &Session, params: StartParams) -> Result<Value, Error> {
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
        let window = params.window.unwrap_or(WINDOW_DEFAULT);
        if !(1..=WINDOW_MAX).contains(&window) {
            return Err(Error::invalid_param(format!("`window` is 1 to {WINDOW_MAX}")));
        }
        let pieces = self.pieces();
        let params = Params {
            since: params.since.filter(|since| !since.is_empty()),
            filter: filter(&pieces.accounts, session, wanted.as_deref()).await?,
            full_state: params.full_state,
            set_presence: presence_state(params.set_presence.as_deref())?,
            use_state_after: state_after(params.use_state_after, params.unstable_use_state_after),
        };
        // The old one goes first: it must not count as delivered what the new one repeats.
        let sync = pieces.sync.clone();
        self.running = None;
        let pos = params.since.clone();
        let connection = sync.connection(&session.user_id, &session.device_id, params).await?;
        self.running = Some(Box::new(Running {
            connection,
            pos,
            window,
            next_seq: 1,
            unacked: VecDeque::new(),
        }));
        Ok(json!({}))
    }

    fn stop_sync(&mut self) -> Result<Value, Error> {
        let running = self.running.take().ok_or_else(|| Error::not_found("No sync is running"))?;
        Ok(json!({ "pos": running.pos }))
    }

    async fn acknowledge(&mut self, request: &Request) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Ack {
            seq: u64,
        }
        let Ack { seq } = methods::read(&request.params)?;
        let running =
            self.running.as_mut().ok_or_else(|| Error::not_found("No sync is running"))?;
        if seq >= running.next_seq {
            return Err(Error::invalid_param(format!("Batch {seq} was not sent yet")));
        }
        let mut confirmed = None;
        while running.unacked.front().is_some_and(|batch| batch.seq <= seq) {
            confirmed = running.unacked.pop_front();
        }
        if let Some(batch) = confirmed {
            running.connection.confirm(&batch.pos).await?;
        }
        Ok(json!({}))
    }

    async fn batch(&mut self, batch: Result<Batch, SyncError>) -> Result<(), End> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        let Batch { pos, body } = match batch {
            Ok(batch) => batch,
            Err(SyncError::Stopping) => return Err(End::Restart),
            Err(error) => {
                tracing::error!(%error, "a socket's sync failed");
                return Err(End::Restart);
            }
        };
        running.pos = Some(pos.clone());
        let frame = match self.mode {
            Mode::Enveloped => {
                let seq = running.next_seq;
                running.next_seq += 1;
                let bytes = body.len();
                running.unacked.push_back(Unacked { seq, pos, bytes, sent: Instant::now() });
                frame::batch(seq, &body)
            }
            // What the draft's client has read, it says by coming again with a token.
            Mode::Draft => Vec::from(body),
        };
        let text = String::from_utf8(frame).map_err(|_| End::Restart)?;
        self.write(Message::Text(text.into())).await
    }

    /// Carries a request out beside the others.
    fn call(&mut self, session: &Session, request: Request) {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            let busy = Error::limit_exceeded(Duration::from_millis(100));
            let answer = frame::failure(request.id.as_deref(), &busy);
            self.in_flight.push(Box::pin(std::future::ready(Some(answer))));
            return;
        }
        let (sockets, session) = (self.sockets.clone(), session.clone());
        self.in_flight.push(Box::pin(async move {
            let id = request.id.clone();
            let outcome = methods::call(sockets, session, request).await;
            match (id, outcome) {
                (Some(id), Ok(result)) => Some(frame::success(&id, &result)),
                (None, Ok(_)) => None,
                (id, Err(error)) => Some(frame::failure(id.as_deref(), &error)),
            }
        }));
    }

    async fn answer(
        &mut self,
        request: &Request,
        outcome: Result<Value, Error>,
    ) -> Result<(), End> {
        let text = match (&request.id, outcome) {
            (Some(id), Ok(result)) => frame::success(id, &result),
            (None, Ok(_)) => return Ok(()),
            (id, Err(error)) => frame::failure(id.as_deref(), &error),
        };
        self.write(Message::Text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_TIME, self.websocket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(End::Gone),
            Err(_elapsed) => Err(SLOW),
        }
    }

    /// Says why, as far as the client still listens.
    async fn close(&mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Close { code, reason } => (code, reason),
            End::Restart => {
                let retry = 500 + self.pieces().rng.below(2_000);
                let goodbye =
                    json!({ "method": "goodbye", "reason": "restart", "retry_after_ms": retry });
                if self.write(Message::Text(goodbye.to_string().into())).await.is_err() {
                    return;
                }
                (1012, "restart")
            }
        };
        let frame = CloseFrame { code, reason: reason.into() };
        let _gone = self.write(Message::Close(Some(frame))).await;
    }
}

enum Step {
    Message(Option<Result<Message, axum::Error>>),
    Answer(Option<String>),
    Batch(Result<Batch, SyncError>),
    Timer,
}

async fn next_batch(running: &mut Option<Box<Running>>) -> Result<Batch, SyncError> {
    match running {
        Some(running) => running.connection.next().await,
        None => std::future::pending().await,
    }
}

fn session_ended(sockets: &Sockets, session: &Session) -> Boxed<()> {
    Box::pin(sockets.inner.pieces.accounts.session_ended(session.id))
}

fn auth_result(session: &Session, now_ms: u64) -> Value {
    let mut result = json!({ "user_id": session.user_id, "device_id": session.device_id });
    if let Some(expires_at) = session.expires_at {
        result["expires_in_ms"] = json!(expires_at.saturating_sub(now_ms));
    }
    result
}

/// Tells a frame that is too large from a client that is gone.
fn receive_error(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") || text.contains("Space limit") {
        TOO_BIG
    } else if text.contains("UTF-8") || text.contains("protocol") {
        PROTOCOL_ERROR
    } else {
        End::Gone
    }
}
