//! A gateway's end of the link: its table of sockets, and what goes to and comes from the core.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Waker,
};

use bytes::BytesMut;
use frames::link::{self, Answer, Frame, Kind, LinkError, PAYLOAD_BYTES_MAX};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, oneshot},
};

use crate::socket::Socket;

/// Seconds between two pings of one socket. nginx closes what is silent for 60 s.
pub(crate) const PING_SECONDS: u32 = 25;
/// Bytes for the core that wait to be written. While there are more, no socket is read.
const WAITING_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Link {
    /// By the number's remainder, so that each second has its share to ping.
    sockets: [Mutex<HashMap<u32, Arc<Socket>>>; PING_SECONDS as usize],
    next: AtomicU32,
    answers: Mutex<HashMap<u32, oneshot::Sender<Answer>>>,
    outgoing: Mutex<Outgoing>,
    has_outgoing: Notify,
    /// Who gave a sign of life since the core was told, and whether somebody is there.
    beats: Mutex<HashMap<u32, bool>>,
    /// Sockets that have to be done with something by a second.
    due: Mutex<HashMap<u32, u32>>,
    /// Seconds since the link began.
    seconds: AtomicU32,
    pub(crate) frames_limited: bool,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Sockets that read on when there is room.
    waiting: Vec<Waker>,
}

impl Link {
    pub(crate) fn new(frames_limited: bool) -> Self {
        Self {
            sockets: std::array::from_fn(|_| Mutex::default()),
            next: AtomicU32::new(0),
            answers: Mutex::default(),
            outgoing: Mutex::default(),
            has_outgoing: Notify::new(),
            beats: Mutex::default(),
            due: Mutex::default(),
            seconds: AtomicU32::new(0),
            frames_limited,
        }
    }

    /// Asks the core for a socket. The sender of the answer is dropped if the link breaks.
    pub(crate) fn open(
        self: &Arc<Self>,
        opening: &[u8],
    ) -> (Arc<Socket>, oneshot::Receiver<Answer>) {
        let number = self.next.fetch_add(1, Relaxed);
        let socket = Arc::new(Socket::new(number, Arc::clone(self)));
        let (answer, answered) = oneshot::channel();
        self.answers.lock().insert(number, answer);
        self.shard(number).lock().insert(number, Arc::clone(&socket));
        self.send(Kind::Open, number, opening);
        (socket, answered)
    }

    /// The socket has ended here.
    pub(crate) fn forget(&self, number: u32) {
        self.answers.lock().remove(&number);
        self.due.lock().remove(&number);
        self.shard(number).lock().remove(&number);
    }

    fn shard(&self, number: u32) -> &Mutex<HashMap<u32, Arc<Socket>>> {
        &self.sockets[(number % PING_SECONDS) as usize]
    }

    pub(crate) fn socket(&self, number: u32) -> Option<Arc<Socket>> {
        self.shard(number).lock().get(&number).map(Arc::clone)
    }

    /// Those that are to be pinged in this second.
    pub(crate) fn to_be_pinged(&self, second: u32) -> Vec<Arc<Socket>> {
        self.shard(second).lock().values().map(Arc::clone).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.sockets.iter().map(|shard| shard.lock().len()).sum()
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.load(Relaxed)
    }

    pub(crate) fn next_second(&self) -> u32 {
        self.seconds.fetch_add(1, Relaxed) + 1
    }

    /// Gives a socket some seconds, from now or from when it was given some first.
    pub(crate) fn limit(&self, number: u32, seconds: u32) {
        let until = self.seconds() + seconds;
        self.due.lock().entry(number).or_insert(until);
    }

    pub(crate) fn no_limit(&self, number: u32) {
        self.due.lock().remove(&number);
    }

    /// Takes those whose time is over.
    pub(crate) fn overdue(&self) -> Vec<u32> {
        let now = self.seconds();
        self.due.lock().extract_if(|_, until| *until <= now).map(|(number, _)| number).collect()
    }

    pub(crate) fn beat(&self, number: u32, active: bool) {
        self.beats.lock().insert(number, active);
    }

    /// Tells the core who was there.
    pub(crate) fn tell_beats(&self) {
        let beats = std::mem::take(&mut *self.beats.lock());
        for (kind, wanted) in [(Kind::Active, true), (Kind::Inactive, false)] {
            let those = beats.iter().filter(|(_, active)| **active == wanted);
            let numbers: Vec<u32> = those.map(|(number, _)| *number).collect();
            for payload in link::beats(&numbers) {
                self.send(kind, 0, &payload);
            }
        }
    }

    pub(crate) fn send(&self, kind: Kind, number: u32, payload: &[u8]) {
        link::put(kind, number, payload, &mut self.outgoing.lock().bytes);
        self.has_outgoing.notify_one();
    }

    /// Whether nothing more should be sent now; then the waker is called when it may be.
    pub(crate) fn is_full(&self, waker: &Waker) -> bool {
        let mut outgoing = self.outgoing.lock();
        let full = outgoing.bytes.len() > WAITING_BYTES_MAX;
        if full {
            outgoing.waiting.push(waker.clone());
        }
        full
    }

    pub(crate) async fn write(&self, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
        loop {
            self.has_outgoing.notified().await;
            let Outgoing { bytes, waiting } = std::mem::take(&mut *self.outgoing.lock());
            stream.write_all(&bytes).await?;
            for waker in waiting {
                waker.wake();
            }
        }
    }

    pub(crate) async fn read(&self, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut input = BytesMut::with_capacity(PAYLOAD_BYTES_MAX);
        loop {
            while let Some(frame) = link::take(&mut input).map_err(io::Error::other)? {
                self.take(frame).map_err(io::Error::other)?;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    fn take(&self, frame: Frame) -> Result<(), LinkError> {
        let Frame { kind, socket: number, payload } = frame;
        if kind == Kind::Answer {
            let answer = link::from_payload(&payload)?;
            if let Some(waits) = self.answers.lock().remove(&number) {
                // Who asked may have gone away.
                let _gone = waits.send(answer);
            }
            return Ok(());
        }
        // What is for one that has gone away meanwhile is for nobody.
        let Some(socket) = self.socket(number) else { return Ok(()) };
        match kind {
            Kind::Part => socket.deliver(&payload, false),
            Kind::Whole => socket.deliver(&payload, true),
            Kind::Live => socket.live(),
            Kind::Credit => socket.credit(),
            Kind::End => socket.end(),
            other => return Err(LinkError::UnknownKind(other as u8)),
        }
        Ok(())
    }

    /// Tells every client to come back after a while, of which `after_ms` gives the length.
    pub(crate) fn restart(&self, after_ms: impl Fn() -> u64) {
        self.answers.lock().clear();
        for shard in &self.sockets {
            let sockets: Vec<Arc<Socket>> = shard.lock().values().map(Arc::clone).collect();
            for socket in sockets {
                socket.restart(after_ms());
            }
        }
    }
}
