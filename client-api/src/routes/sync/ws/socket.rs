//! One socket: its frames, its sync, its requests in flight, and how it ends.
//!
//! The server keeps no outbound queue. While the window of unacknowledged batches is full nothing
//! is computed; when it opens, one batch is made from what was sent last to now. A slow client
//! gets fewer, larger batches, never a growing buffer.
//!
//! An idle socket is this struct, a timer and a waiter: what is only needed while something
//! happens is boxed and made when it does. `task_stays_small` watches over that.

mod heard;
mod opening;
mod requests;
mod timer;

use std::{future::Future, pin::Pin, time::Duration};

use accounts::Session;
use frames::codec::{self, Message, Opcode};
use serde_json::{Value, json};
use sync::{Batch, SyncError};
use tokio::time::{Instant, timeout};

use self::{heard::Heard, timer::Timer};
use super::{
    Pieces, Sockets,
    channel::Broken,
    end::{End, LOCKED, REPLACED, SLOW, SOFT_LOGOUT, UNKNOWN_TOKEN},
    frame,
    in_flight::InFlight,
    registry::Place,
    running::{Running, StartParams},
    transport::{Transport, Upgrade},
};

/// Between two pings of the server. nginx closes what is silent for 60 s.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Pings in a row that may go unanswered.
const PINGS_MISSED_MAX: u8 = 2;
/// A write that takes longer means that the client does not read.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// What a client may take to read why the socket ends, and to say that it has.
const CLOSE_TIME: Duration = Duration::from_secs(5);
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

struct Socket {
    sockets: Sockets,
    transport: Transport,
    mode: Mode,
    running: Option<Box<Running>>,
    /// Of the next batch. Never starts over, so that an acknowledgement means one batch only.
    next_seq: u64,
    in_flight: InFlight,
    heard: Heard,
    next_ping: Instant,
    expiry_told: bool,
}

/// An authenticated socket.
struct Open {
    socket: Socket,
    session: Session,
    place: Place,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    timer: Timer,
}

/// Drives a socket to its end, once its connection is handed over.
pub(super) fn run(
    sockets: Sockets,
    upgrade: Upgrade,
    start: Start,
) -> impl Future<Output = ()> + Send {
    // What is only needed in the beginning has a box of its own, which is gone afterwards.
    let opening = Box::pin(open(sockets, upgrade, start));
    async {
        let Some(mut open) = opening.await else { return };
        let end = open.serve().await;
        Box::pin(open.end(end)).await;
    }
}

/// `None` if nobody is there, or no longer.
async fn open(sockets: Sockets, upgrade: Upgrade, start: Start) -> Option<Box<Open>> {
    let transport = upgrade.transport().await?;
    let mut socket = Socket::new(sockets, transport, start.mode);
    match socket.open(start).await {
        Ok(session) => Some(Box::new(Open::new(socket, session))),
        Err(end) => {
            socket.close(end).await;
            None
        }
    }
}

impl Open {
    fn new(socket: Socket, session: Session) -> Self {
        let place = socket.sockets.inner.registry.enter(&session);
        let ended = Box::pin(socket.pieces().accounts.session_ended(session.id));
        socket.transport.belongs_to(&session);
        // The one who tells all sockets may have been here before this one.
        if socket.pieces().tasks.is_stopping() {
            place.call();
        }
        Self { socket, session, place, ended, timer: Timer::default() }
    }

    async fn serve(&mut self) -> End {
        loop {
            let step = self.step().await;
            // Boxed, for the room that it takes is not to be kept while nothing happens.
            if let Err(end) = Box::pin(self.take(step)).await {
                return end;
            }
        }
    }

    /// Waits for the next thing to happen.
    async fn step(&mut self) -> Step {
        let Self { socket, session, place, ended, timer } = self;
        let deadline = socket.deadline(session);
        let Socket { sockets, transport, running, in_flight, heard, .. } = socket;
        let pieces = &sockets.inner.pieces;
        tokio::select! {
            message = heard.next(transport, pieces, session) => Step::Message(message),
            answer = in_flight.next() => Step::Answer(answer),
            batch = next_batch(running) => Step::Batch(batch),
            () = timer.at(deadline) => Step::Timer,
            () = place.called() => {
                Step::End(if pieces.tasks.is_stopping() { End::Restart } else { REPLACED })
            }
            () = ended => Step::End(over(pieces, session)),
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), End> {
        let Self { socket, session, .. } = self;
        match step {
            Step::Message(message) => self.message(message?).await,
            Step::Answer(Some(answer)) => socket.write(&answer).await,
            Step::Answer(None) => Ok(()),
            Step::Batch(batch) => socket.batch(batch).await,
            Step::Timer => socket.timer(session).await,
            Step::End(end) => Err(end),
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => self.text(&text).await,
            Message::Ping(payload) => self.socket.send(Opcode::Pong, &payload).await,
            Message::Pong => Ok(()),
            Message::Close(code) => Err(End::Left { code }),
        }
    }

    /// Frees the place before the client is told: the next one may be its own.
    async fn end(self, end: End) {
        let Self { mut socket, place, .. } = self;
        drop(place);
        socket.running = None;
        socket.close(end).await;
    }
}

/// Why a session that ended, or is locked, ends its sockets.
fn over(pieces: &Pieces, session: &Session) -> End {
    if pieces.accounts.has_session(session.id) { LOCKED } else { UNKNOWN_TOKEN }
}

impl Socket {
    fn new(sockets: Sockets, transport: Transport, mode: Mode) -> Self {
        let now = Instant::now();
        Self {
            sockets,
            transport,
            mode,
            running: None,
            next_seq: 1,
            in_flight: InFlight::default(),
            heard: Heard::nothing(now),
            next_ping: now + PING_INTERVAL,
            expiry_told: false,
        }
    }

    fn pieces(&self) -> &Pieces {
        &self.sockets.inner.pieces
    }

    fn now_ms(&self) -> u64 {
        self.pieces().gate.now_ms()
    }

    /// When the next thing happens by itself.
    fn deadline(&self, session: &Session) -> Option<Instant> {
        let ping = (!self.transport.is_watched()).then_some(self.next_ping);
        let late = self.running.as_ref().and_then(|running| running.ack_deadline());
        let expiry = self.token_left(session).map(|left| {
            let notice = if self.expiry_told { left } else { left.saturating_sub(EXPIRY_NOTICE) };
            Instant::now() + notice
        });
        [ping, late, expiry].into_iter().flatten().min()
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
                self.write(&notice.to_string()).await?;
            }
        }
        if now >= self.next_ping && !self.transport.is_watched() {
            if self.heard.pings_missed >= PINGS_MISSED_MAX {
                return Err(End::Gone);
            }
            self.heard.pings_missed += 1;
            self.next_ping = now + PING_INTERVAL;
            self.send(Opcode::Ping, b"").await?;
        }
        Ok(())
    }

    async fn batch(&mut self, batch: Result<Batch, SyncError>) -> Result<(), End> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        let batch = match batch {
            Ok(batch) => batch,
            Err(SyncError::Superseded) => return Err(REPLACED),
            // What the client is told when it comes again.
            Err(SyncError::Stopping | SyncError::UnknownPos) => return Err(End::Restart),
            Err(error) => {
                tracing::error!(%error, "a socket's sync failed");
                return Err(End::Restart);
            }
        };
        let body = match self.mode {
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
        self.send(Opcode::Text, &body).await
    }

    async fn write(&mut self, text: &str) -> Result<(), End> {
        self.send(Opcode::Text, text.as_bytes()).await
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), End> {
        match timeout(WRITE_TIME, self.transport.send(opcode, payload)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(End::Gone),
            Err(_elapsed) => Err(SLOW),
        }
    }

    /// Says why, as far as the client still listens, and waits for it to have read that.
    async fn close(&mut self, end: End) {
        let _late = timeout(CLOSE_TIME, async {
            let answered = match end {
                End::Gone => return,
                End::Left { code } => {
                    let code = code.map(|code| codec::close(code, "")).unwrap_or_default();
                    self.transport.send(Opcode::Close, &code).await.is_ok()
                }
                End::Close { code, reason } => self.say_close(code, reason).await,
                End::Restart => {
                    let retry = 500 + self.pieces().rng.below(2_000);
                    let goodbye = json!({
                        "method": "goodbye", "reason": "restart", "retry_after_ms": retry,
                    });
                    let goodbye = goodbye.to_string();
                    self.transport.send(Opcode::Text, goodbye.as_bytes()).await.is_ok()
                        && self.say_close(1012, "restart").await
                }
            };
            if answered {
                self.transport.finish().await;
            }
        })
        .await;
    }

    /// Whether the client's own close has come, or nothing more of it can be understood.
    async fn say_close(&mut self, code: u16, reason: &str) -> bool {
        if self.transport.send(Opcode::Close, &codec::close(code, reason)).await.is_err() {
            return false;
        }
        loop {
            match self.transport.receive().await {
                Ok(Message::Close(_)) | Err(Broken::Violation(codec::Violation::Protocol(_))) => {
                    return true;
                }
                Ok(_) | Err(Broken::Violation(codec::Violation::TooLong)) => (),
                Err(Broken::Gone) => return false,
            }
        }
    }
}

enum Step {
    Message(Result<Message, End>),
    Answer(Option<String>),
    Batch(Result<Batch, SyncError>),
    Timer,
    End(End),
}

async fn next_batch(running: &mut Option<Box<Running>>) -> Result<Batch, SyncError> {
    match running {
        Some(running) => running.next().await,
        None => std::future::pending().await,
    }
}

fn auth_result(session: &Session, now_ms: u64) -> Value {
    let mut result = json!({ "user_id": session.user_id, "device_id": session.device_id });
    if let Some(expires_at) = session.expires_at {
        result["expires_in_ms"] = json!(expires_at.saturating_sub(now_ms));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{Open, Start, run};

    /// There may be millions. A test and not a measurement, so that whoever makes it grow knows.
    #[test]
    fn task_stays_small() {
        fn size_of_result<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let task = size_of_result::<_, _, Start, _>(run);
        let open = size_of::<Open>();
        assert!(task + open < 1000, "{task} bytes of a task, {open} of an open socket");
    }
}
