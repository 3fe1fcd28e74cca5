//! One socket: its frames, its sync, its requests in flight, and how it ends.
//!
//! The server keeps no outbound queue. While the window of unacknowledged batches is full nothing
//! is computed; when it opens, one batch is made from what was sent last to now. A slow client
//! gets fewer, larger batches, never a growing buffer.
//!
//! An idle socket is this struct, a timer and a waiter: what is only needed while something
//! happens is boxed and made when it does.

use std::{future::Future, pin::Pin, time::Duration};

use accounts::Session;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::Deserialize;
use serde_json::{Value, json};
use sync::{Batch, SyncError};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    FRAME_BYTES_MAX, Pieces, Sockets, delivered,
    end::{
        End, NO_AUTH, PROTOCOL_ERROR, REPLACED, SLOW, SOFT_LOGOUT, TOO_BIG, TOO_FAST, UNKNOWN_TOKEN,
    },
    frame::{self, Incoming, Request},
    methods,
    running::{Running, StartParams, sync_params},
};
use crate::error::Error;

/// The first frame has to authenticate within this time.
const AUTH_TIME: Duration = Duration::from_secs(10);
/// Between two pings of the server. nginx closes what is silent for 60 s.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Pings in a row that may go unanswered.
const PINGS_MISSED_MAX: u8 = 2;
/// A write that takes longer means that the client does not read.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// What a client may take to read why the socket ends, and to say that it has.
const CLOSE_TIME: Duration = Duration::from_secs(5);
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

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Socket {
    sockets: Sockets,
    websocket: WebSocket,
    mode: Mode,
    running: Option<Box<Running>>,
    /// Of the next batch. Never starts over, so that an acknowledgement means one batch only.
    next_seq: u64,
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
        next_seq: 1,
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
        if let (Mode::Draft, Some(params)) = (self.mode, start.query)
            && let Err(refused) = self.start_sync(&session, *params).await
        {
            self.write(Message::Text(frame::failure(None, &refused).into())).await?;
            return Err(PROTOCOL_ERROR);
        }
        Ok(session)
    }

    /// Without a header or a ticket the first frame has to be `auth`.
    async fn first_frame(&mut self) -> Result<Session, End> {
        let text = loop {
            match self.websocket.recv().await {
                Some(Ok(Message::Text(text))) if text.len() > FRAME_BYTES_MAX => {
                    return Err(TOO_BIG);
                }
                Some(Ok(Message::Text(text))) => break text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => (),
                Some(Ok(Message::Binary(_))) => return Err(PROTOCOL_ERROR),
                Some(Ok(Message::Close(_))) => return Err(End::Left),
                Some(Err(error)) => return Err(End::of(error)),
                None => return Err(End::Gone),
            }
        };
        let Ok(Incoming::Request(request)) = frame::read(&text) else { return Err(NO_AUTH) };
        if request.method != "auth" {
            return Err(NO_AUTH);
        }
        let outcome = self.authenticate(&request);
        let end = outcome.as_ref().err().map(End::of_refused_token);
        let result = outcome.as_ref().map(|session| auth_result(session, self.now_ms()));
        self.answer(&request, result.map_err(Error::clone)).await?;
        outcome.map_err(|_refused| end.unwrap_or(NO_AUTH))
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
        let mut next = self.next_ping;
        if let Some(late) = self.running.as_ref().and_then(|running| running.ack_deadline()) {
            next = next.min(late);
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
        let late = self.running.as_ref().and_then(|running| running.ack_deadline());
        if late.is_some_and(|late| late <= now) {
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
            Some(Ok(Message::Text(text))) if text.len() > FRAME_BYTES_MAX => Err(TOO_BIG),
            Some(Ok(Message::Text(text))) => Box::pin(self.text(session, &text)).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(PROTOCOL_ERROR),
            Some(Ok(Message::Close(_))) => Err(End::Left),
            Some(Err(error)) => Err(End::of(error)),
            None => Err(End::Gone),
        }
    }

    fn count_frame(&mut self) -> Result<(), End> {
        if !self.pieces().gate.config().rate_limits.enabled {
            return Ok(());
        }
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
                let outcome = self.acknowledge(session, &request).await;
                self.answer(&request, outcome).await
            }
            "sync.stop" => {
                let outcome = self.stop_sync();
                self.answer(&request, outcome).await
            }
            _ => self.call(session, request).await,
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
        let window = params.window()?;
        let params = sync_params(&self.pieces().accounts, session, params).await?;
        // The old one goes first: it must not count as delivered what the new one repeats.
        self.running = None;
        let sync = self.pieces().sync.clone();
        let pos = params.since.clone();
        let connection = sync.connection(&session.user_id, &session.device_id, params).await;
        let connection = connection.map_err(|error| match error {
            SyncError::InvalidToken => Error::unknown_pos(),
            other => other.into(),
        })?;
        self.running = Some(Box::new(Running::new(connection, pos, window)));
        Ok(json!({}))
    }

    fn stop_sync(&mut self) -> Result<Value, Error> {
        let running = self.running.take().ok_or_else(|| Error::not_found("No sync is running"))?;
        Ok(json!({ "pos": running.pos }))
    }

    async fn acknowledge(&mut self, session: &Session, request: &Request) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Ack {
            seq: u64,
        }
        let Ack { seq } = methods::read(&request.params)?;
        if seq >= self.next_seq {
            return Err(Error::invalid_param(format!("Batch {seq} was not sent yet")));
        }
        // One that was on its way when the sync stopped says nothing any more.
        let Some(running) = self.running.as_mut() else { return Ok(json!({})) };
        let events = running.acknowledge(seq).await?;
        if !events.is_empty() {
            let (sockets, session) = (self.sockets.clone(), session.clone());
            self.in_flight.push(Box::pin(async move {
                delivered::tell(&sockets.inner.pieces, &session, events).await;
                None
            }));
        }
        Ok(json!({}))
    }

    async fn batch(&mut self, batch: Result<Batch, SyncError>) -> Result<(), End> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        let batch = match batch {
            Ok(batch) => batch,
            Err(SyncError::Stopping) => return Err(End::Restart),
            Err(error) => {
                tracing::error!(%error, "a socket's sync failed");
                return Err(End::Restart);
            }
        };
        running.pos = Some(batch.pos.clone());
        let frame = match self.mode {
            Mode::Enveloped => {
                let seq = self.next_seq;
                self.next_seq += 1;
                let frame = frame::batch(seq, &batch.body);
                running.sent(seq, batch);
                frame
            }
            // What the draft's client has read, it says by coming again with a token.
            Mode::Draft => Vec::from(batch.body),
        };
        let text = String::from_utf8(frame).map_err(|_| End::Restart)?;
        self.write(Message::Text(text.into())).await
    }

    /// Carries a request out beside the others.
    async fn call(&mut self, session: &Session, request: Request) -> Result<(), End> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            let busy = Error::limit_exceeded(Duration::from_millis(100));
            return self.answer(&request, Err(busy)).await;
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
        Ok(())
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

    /// Says why, as far as the client still listens, and waits for it to leave.
    async fn close(&mut self, end: End) {
        let frame = match end {
            End::Gone => return,
            End::Left => None,
            End::Close { code, reason } => Some((code, reason)),
            End::Restart => Some((1012, "restart")),
        };
        let restart = matches!(end, End::Restart);
        let _late = timeout(CLOSE_TIME, async {
            if restart {
                let retry = 500 + self.pieces().rng.below(2_000);
                let goodbye =
                    json!({ "method": "goodbye", "reason": "restart", "retry_after_ms": retry });
                self.websocket.send(Message::Text(goodbye.to_string().into())).await?;
            }
            if let Some((code, reason)) = frame {
                let frame = CloseFrame { code, reason: reason.into() };
                self.websocket.send(Message::Close(Some(frame))).await?;
            }
            // With anything unread the connection would be reset, and the frame be lost. This also
            // sends the answer to a client's close.
            while let Some(Ok(_)) = self.websocket.recv().await {}
            Ok::<_, axum::Error>(())
        })
        .await;
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
