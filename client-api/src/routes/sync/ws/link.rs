//! The core's end of a gateway's link: many sockets over one connection.
//!
//! The reader hands each message to its socket and never waits for one: a socket takes its messages
//! when it likes, and the gateway sends no more than its credit. The writer is fed by a queue that
//! is short, and whose places are given in turn.

mod linked;
mod opening;

use std::{collections::HashMap, io, mem, sync::Arc};

use axum::Router;
use bytes::{Bytes, BytesMut};
use frames::link::{self, Frame, Kind, LinkError};
use parking_lot::Mutex;
use presence::Presence;
use stdx::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, Semaphore, mpsc},
};

use self::linked::Remote;
pub(super) use self::{linked::Linked, opening::LinkUpgrade};
use super::Sockets;

/// Pieces that wait to be written, of all sockets of a gateway; each is at most 64 KiB.
const QUEUE_MAX: usize = 256;
/// Sockets of one gateway that are being opened at a time.
const OPENING_MAX: usize = 512;
/// What the writer keeps of its buffer.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the gateway sent {0}")]
    Frame(#[from] LinkError),
}

pub(super) struct Link {
    remotes: Mutex<HashMap<u32, Arc<Remote>>>,
    queue: mpsc::Sender<Piece>,
    /// What never waits: a few bytes each, and of each socket at most one or two.
    notes: Mutex<Vec<(Kind, u32)>>,
    noted: Notify,
}

struct Piece {
    kind: Kind,
    socket: u32,
    payload: Bytes,
}

impl Sockets {
    /// Serves the sockets of a gateway until the connection ends. Their openings go through `app`.
    pub async fn serve_link<S>(&self, stream: S, app: Router)
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (reading, writing) = tokio::io::split(stream);
        let (queue, pieces) = mpsc::channel(QUEUE_MAX);
        let link = Arc::new(Link {
            remotes: Mutex::default(),
            queue,
            notes: Mutex::default(),
            noted: Notify::new(),
        });
        let reader = Reader {
            link: Arc::clone(&link),
            app,
            presence: self.inner.pieces.presence.clone(),
            tasks: self.inner.pieces.tasks.clone(),
            opening: Arc::new(Semaphore::new(OPENING_MAX)),
        };
        let ended = tokio::select! {
            ended = reader.run(reading) => ended,
            ended = link.write(pieces, writing) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "the link of a gateway broke");
        }
        let remotes = mem::take(&mut *link.remotes.lock());
        for remote in remotes.into_values() {
            remote.gone();
        }
    }
}

struct Reader {
    link: Arc<Link>,
    app: Router,
    presence: Presence,
    tasks: Tasks,
    opening: Arc<Semaphore>,
}

impl Reader {
    async fn run(&self, mut stream: impl AsyncRead + Unpin) -> Result<(), Broken> {
        let mut input = BytesMut::with_capacity(link::PAYLOAD_BYTES_MAX);
        loop {
            while let Some(frame) = link::take(&mut input)? {
                self.take(frame).await?;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn take(&self, frame: Frame) -> Result<(), LinkError> {
        let Frame { kind, socket, payload } = frame;
        match kind {
            Kind::Open => {
                let opening = link::from_payload(&payload)?;
                let place = Arc::clone(&self.opening).acquire_owned().await;
                let linked = Linked::new(&self.link, socket);
                let open = opening::open(Arc::clone(&self.link), linked, opening, self.app.clone());
                self.tasks.spawn("opening", async move {
                    open.await;
                    drop(place);
                });
            }
            Kind::Text | Kind::Close | Kind::Gone => {
                // One that the core has given up may still have had something to say.
                let Some(remote) = self.link.remote(socket) else { return Ok(()) };
                remote.take(kind, &payload)?;
            }
            Kind::Active => self.beats(&payload, true),
            Kind::Inactive => self.beats(&payload, false),
            other => return Err(LinkError::UnknownKind(other as u8)),
        }
        Ok(())
    }

    fn beats(&self, payload: &[u8], active: bool) {
        for socket in link::read_beats(payload) {
            let remote = self.link.remote(socket);
            if let Some((user_id, device_id)) = remote.as_ref().and_then(|remote| remote.owner()) {
                self.presence.heartbeat(user_id, device_id, active);
            }
        }
    }
}

impl Link {
    fn remote(&self, socket: u32) -> Option<Arc<Remote>> {
        self.remotes.lock().get(&socket).map(Arc::clone)
    }

    /// Says something without a payload, soon.
    fn note(&self, kind: Kind, socket: u32) {
        self.notes.lock().push((kind, socket));
        self.noted.notify_one();
    }

    async fn send(&self, kind: Kind, socket: u32, payload: Bytes) -> io::Result<()> {
        let piece = Piece { kind, socket, payload };
        self.queue.send(piece).await.map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }

    async fn write(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        mut stream: impl AsyncWrite + Unpin,
    ) -> Result<(), Broken> {
        let mut next = Vec::with_capacity(QUEUE_MAX);
        let mut buffer = Vec::new();
        loop {
            tokio::select! {
                _count = pieces.recv_many(&mut next, QUEUE_MAX) => (),
                () = self.noted.notified() => (),
            }
            // What was queued before a note was made is written before it: an end comes last.
            let notes = mem::take(&mut *self.notes.lock());
            for _ in 0..QUEUE_MAX {
                let Ok(piece) = pieces.try_recv() else { break };
                next.push(piece);
            }
            for piece in next.drain(..) {
                link::put(piece.kind, piece.socket, &piece.payload, &mut buffer);
            }
            for (kind, socket) in notes {
                link::put(kind, socket, &[], &mut buffer);
            }
            stream.write_all(&buffer).await?;
            stream.flush().await?;
            buffer.clear();
            buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
    }
}
