//! The listener: accepts connections, with every limit set explicitly, and drains them at the end.
//!
//! The usual stack has no header timeout unless it is given a timer, so a client that dribbles its
//! header would hold a connection for ever.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use client_api::ClientAddress;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use stdx::Tasks;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// Header lines of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// What a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one client may take of the listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a request's header may take to arrive.
    pub header_timeout: Duration,
    /// Open connections; more wait to be accepted.
    pub connections_max: usize,
    /// How long open requests may take to end when the server stops.
    pub drain: Duration,
}

/// Serves `app` until `tasks` is told to stop; then lets open requests end, for at most the drain
/// time.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: Limits,
    tasks: Tasks,
) {
    let connections = Tasks::new();
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let http = Arc::new(http_builder(&limits));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is not closed"),
            () = tasks.stopping() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = tasks.stopping() => break,
        };
        let (http, tls, app, stop) = (http.clone(), tls.clone(), app.clone(), tasks.clone());
        connections.spawn("connection", async move {
            connection(stream, peer, tls, &http, app, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, connections.shutdown()).await.is_err() {
        tracing::info!("some connections did not end in time and are closed");
    }
}

fn http_builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    http: &Builder<TokioExecutor>,
    app: Router,
    stop: Tasks,
) {
    // Responses are written whole; waiting for more only delays them.
    let _best_effort = stream.set_nodelay(true);
    match tls {
        None => drive(stream, peer, http, app, stop).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => drive(stream, peer, http, app, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_elapsed) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn drive<I>(io: I, peer: SocketAddr, http: &Builder<TokioExecutor>, app: Router, stop: Tasks)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ClientAddress(peer));
        // A router is always ready.
        app.clone().call(request)
    });
    let connection = http.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "connection ended");
    }
}
