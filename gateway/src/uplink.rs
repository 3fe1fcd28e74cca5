//! The two connections to the core: one for requests, one for sockets. They live and die together.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use frames::link::{FOR_REQUESTS, FOR_SOCKETS};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use stdx::{Rng, Tasks};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::Notify};

use crate::{gateway::Config, link::Link, sweep};

/// Between two attempts to reach the core.
const RETRY: Duration = Duration::from_millis(100);
/// What may be on its way to or from one client at a time.
const STREAM_BYTES: u32 = 64 << 10;
/// Larger than those of all streams together, so that one that is not read stops no other.
const CONNECTION_BYTES: u32 = (1 << 31) - 1;
/// Requests that clients gave up, as far as the core was not told yet.
const RESETS_MAX: usize = 16_384;
/// A core that answers nothing for the sum of the two is not there.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Milliseconds until a client that was told of a restart should come back, and what is added at
/// random.
const RETURN_MS: u64 = 500;
const RETURN_SPREAD_MS: u64 = 2_000;

pub(crate) struct Core {
    config: Config,
    pub(crate) rng: Rng,
    pub(crate) tasks: Tasks,
    connected: Mutex<Option<Connected>>,
    came: Notify,
}

#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) requests: SendRequest<Body>,
    pub(crate) link: Arc<Link>,
}

impl Core {
    pub(crate) fn new(config: Config, rng: Rng, tasks: Tasks) -> Self {
        Self { config, rng, tasks, connected: Mutex::new(None), came: Notify::new() }
    }

    pub(crate) fn connected(&self) -> Option<Connected> {
        self.connected.lock().clone()
    }

    /// Waits until the core is connected.
    pub(crate) async fn ready(&self) {
        let came = self.came.notified();
        if self.connected.lock().is_none() {
            came.await;
        }
    }

    /// Connects again and again.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut known_to_be_away = false;
        while !self.tasks.is_stopping() {
            match self.serve().await {
                Ok(()) => known_to_be_away = false,
                Err(error) if !known_to_be_away => {
                    known_to_be_away = true;
                    let socket = self.config.socket.display();
                    tracing::warn!(%error, "the core cannot be reached at {socket}");
                }
                Err(_as_before) => (),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => (),
                () = self.tasks.stopping() => (),
            }
        }
    }

    /// Serves over one pair of connections, to its end.
    async fn serve(&self) -> io::Result<()> {
        let requests = self.connect(FOR_REQUESTS).await?;
        let sockets = self.connect(FOR_SOCKETS).await?;
        let (requests, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_BYTES)
            .initial_connection_window_size(CONNECTION_BYTES)
            .max_concurrent_reset_streams(RESETS_MAX)
            .max_send_buf_size(STREAM_BYTES as usize)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(requests))
            .await
            .map_err(io::Error::other)?;
        let link = Arc::new(Link::new(self.config.frames_limited));
        *self.connected.lock() = Some(Connected { requests, link: Arc::clone(&link) });
        self.came.notify_waiters();
        tracing::info!("connected to the core");
        let (reading, writing) = sockets.into_split();
        tokio::select! {
            _ended = driver => (),
            ended = link.read(reading) => tracing::info!(?ended, "the core has gone away"),
            _ended = link.write(writing) => (),
            () = sweep::run(&link) => (),
            () = self.tasks.stopping() => (),
        }
        self.connected.lock().take();
        link.restart(|| RETURN_MS + self.rng.below(RETURN_SPREAD_MS));
        // Clients that do not take their leave have a deadline for that.
        self.tasks.spawn("leaving", async move { sweep::run_out(&link).await });
        Ok(())
    }

    async fn connect(&self, purpose: u8) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.config.socket).await?;
        stream.write_all(&[purpose]).await?;
        Ok(stream)
    }
}
