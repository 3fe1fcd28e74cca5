//! One WebSocket: its frames, and how it ends.
//!
//! The core decides everything that is worth it; here are framing, heartbeats, and the limits of what
//! a client may leave unread. A socket that waits is this struct, its connection and a small task.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use frames::{
    codec::{self, Decoder, Message, Opcode, Violation},
    link::{self, CREDIT, CREDIT_STEP, Kind},
};
use parking_lot::Mutex;

use crate::{beat, link::Link, outbox::Outbox, stream::Stream};

/// The largest frame of a client: an event of 65,536 bytes and what is around it.
const FRAME_BYTES_MAX: usize = 65_536 + 1024;
/// Pings in a row that may go unanswered.
const PINGS_MISSED_MAX: u8 = 2;
/// Seconds for which a client may read nothing of what there is.
const WRITE_SECONDS: u32 = 10;
/// Seconds that a client may take to read why the socket ends.
const CLOSE_SECONDS: u32 = 5;
/// Frames of one socket per second before it is closed, if they are limited.
const FRAMES_PER_SECOND_MAX: u16 = 200;

pub(crate) struct Socket {
    number: u32,
    link: Arc<Link>,
    state: Mutex<State>,
}

struct State {
    /// Absent until the connection is handed over.
    stream: Option<Stream>,
    decoder: Decoder,
    outbox: Outbox,
    phase: Phase,
    /// Of the task that drives the socket.
    waker: Option<Waker>,
    /// Messages that the core has not said to have taken.
    outstanding: u8,
    pings_missed: u8,
    /// The core knows whose the socket is.
    live: bool,
    /// It has a time by which something has to be written.
    is_late: bool,
    /// Frames in the second of the link.
    frames: (u32, u16),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing is read any more; what is there is written, then the connection ends.
    Ending,
    /// The client is waited for to end it too: with anything unread the connection would be reset,
    /// and what was sent last be lost.
    Draining,
    Over,
}

/// Drives a socket that has its connection.
pub(crate) struct Driver(pub(crate) Arc<Socket>);

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self(socket) = self.get_mut();
        ready!(socket.state.lock().poll(socket, context));
        socket.link.forget(socket.number);
        Poll::Ready(())
    }
}

impl Socket {
    pub(crate) fn new(number: u32, link: Arc<Link>) -> Self {
        let state = State {
            stream: None,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            outbox: Outbox::default(),
            phase: Phase::Open,
            waker: None,
            outstanding: 0,
            pings_missed: 0,
            live: false,
            is_late: false,
            frames: (0, 0),
        };
        Self { number, link, state: Mutex::new(state) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The connection is handed over, with what was read of it before.
    pub(crate) fn connect(&self, stream: Stream, early: &[u8]) {
        let mut state = self.state.lock();
        state.decoder.feed(early);
        state.stream = Some(stream);
    }

    /// Changes something and looks after it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
    }

    /// Bytes of the core for the client.
    pub(crate) fn deliver(&self, bytes: &[u8], whole: bool) {
        self.change(|state| state.outbox.core(bytes, whole));
    }

    pub(crate) fn live(&self) {
        self.state.lock().live = true;
    }

    pub(crate) fn credit(&self) {
        self.change(|state| state.outstanding = state.outstanding.saturating_sub(CREDIT_STEP));
    }

    /// The core has said everything.
    pub(crate) fn end(&self) {
        self.change(|state| state.end(self));
    }

    /// Whoever had to do something has had the time for it.
    pub(crate) fn give_up(&self) {
        self.change(|state| state.gone(self));
    }

    pub(crate) fn ping(&self) {
        self.change(|state| {
            if state.phase != Phase::Open || state.stream.is_none() {
                return;
            }
            if state.pings_missed >= PINGS_MISSED_MAX {
                state.gone(self);
                return;
            }
            state.pings_missed += 1;
            state.outbox.own(Opcode::Ping, b"");
        });
    }

    /// The core is away: the client is to come back.
    pub(crate) fn restart(&self, after_ms: u64) {
        self.change(|state| {
            if state.phase != Phase::Open {
                return;
            }
            if state.outbox.is_in_frame() {
                state.phase = Phase::Over;
                return;
            }
            let goodbye =
                format!(r#"{{"method":"goodbye","reason":"restart","retry_after_ms":{after_ms}}}"#);
            state.outbox.own(Opcode::Text, goodbye.as_bytes());
            state.close(self, 1012, "restart");
        });
    }
}

impl State {
    fn poll(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
        loop {
            if self.phase == Phase::Over {
                return Poll::Ready(());
            }
            // While the client does not read nothing is read of it.
            if ready!(self.poll_write(socket, context)).is_err() {
                self.gone(socket);
                continue;
            }
            match self.phase {
                Phase::Open => ready!(self.poll_open(socket, context)),
                Phase::Ending | Phase::Draining => {
                    ready!(self.poll_end(context));
                    self.phase = Phase::Over;
                }
                Phase::Over => (),
            }
        }
    }

    fn poll_write(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream: Some(stream), outbox, is_late, phase, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let (Socket { number, link, .. }, leaves) = (socket, *phase != Phase::Open);
        let written = outbox.poll_write(stream, context, || {
            // Who leaves has one time for all of it.
            if std::mem::take(is_late) && !leaves {
                link.no_limit(*number);
            }
        });
        if written.is_pending() && !*is_late {
            *is_late = true;
            link.limit(*number, WRITE_SECONDS);
        }
        written
    }

    /// Takes the next message of the client.
    fn poll_open(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<()> {
        if self.outstanding >= CREDIT || socket.link.is_full(context.waker()) {
            return Poll::Pending;
        }
        match self.decoder.message() {
            Ok(Some(message)) => self.take(message, socket),
            Ok(None) => {
                let Self { stream: Some(stream), decoder, .. } = self else {
                    self.gone(socket);
                    return Poll::Ready(());
                };
                let read = ready!(stream.poll_read(context, |bytes| decoder.feed(bytes)));
                if !matches!(read, Ok(1..)) {
                    self.gone(socket);
                }
            }
            Err(violation) => {
                socket.link.send(Kind::Gone, socket.number, &[]);
                let (code, reason) = match violation {
                    Violation::TooLong => (1009, "message too big"),
                    Violation::Protocol(reason) => (4000, reason),
                };
                self.close(socket, code, reason);
            }
        }
        Poll::Ready(())
    }

    /// Ends the connection once everything is written.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(()) };
        if self.phase == Phase::Ending {
            if ready!(stream.poll_shutdown(context)).is_err() {
                return Poll::Ready(());
            }
            self.phase = Phase::Draining;
        }
        while let Ok(1..) = ready!(stream.poll_read(context, |_| ())) {}
        Poll::Ready(())
    }

    fn take(&mut self, message: Message, socket: &Socket) {
        self.pings_missed = 0;
        if socket.link.frames_limited && self.is_too_fast(socket.link.seconds()) {
            socket.link.send(Kind::Gone, socket.number, &[]);
            self.close(socket, 4029, "too many frames");
            return;
        }
        match message {
            Message::Text(text) => self.text(&text, socket),
            Message::Ping(payload) => self.outbox.own(Opcode::Pong, &payload),
            Message::Pong => (),
            Message::Close(code) => {
                self.outstanding += 1;
                socket.link.send(Kind::Close, socket.number, &link::close_payload(code));
            }
        }
    }

    fn text(&mut self, text: &str, socket: &Socket) {
        let Some(beat) = self.live.then(|| beat::read(text)).flatten() else {
            self.outstanding += 1;
            socket.link.send(Kind::Text, socket.number, text.as_bytes());
            return;
        };
        if let Some(active) = beat.active {
            socket.link.beat(socket.number, active);
        }
        if let Some(answer) = beat.answer {
            self.outbox.own(Opcode::Text, answer.as_bytes());
        }
    }

    fn is_too_fast(&mut self, second: u32) -> bool {
        let (since, count) = &mut self.frames;
        if *since != second {
            (*since, *count) = (second, 0);
        }
        *count = count.saturating_add(1);
        *count > FRAMES_PER_SECOND_MAX
    }

    /// Says why, and ends.
    fn close(&mut self, socket: &Socket, code: u16, reason: &str) {
        self.outbox.own(Opcode::Close, &codec::close(code, reason));
        self.end(socket);
    }

    fn end(&mut self, socket: &Socket) {
        if self.phase != Phase::Open {
            return;
        }
        self.phase = Phase::Ending;
        socket.link.no_limit(socket.number);
        socket.link.limit(socket.number, CLOSE_SECONDS);
    }

    /// The client cannot be reached any more.
    fn gone(&mut self, socket: &Socket) {
        if self.phase == Phase::Open {
            socket.link.send(Kind::Gone, socket.number, &[]);
        }
        self.phase = Phase::Over;
    }
}
