//! Gateways, as the region's process sees them: where they reach it, and those that it starts.

mod supervise;

use std::{io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use client_api::{ClientAddress, Sockets};
use frames::link::{CLIENT_HEADER, FOR_REQUESTS, FOR_SOCKETS};
use http::{HeaderValue, Request, StatusCode, Uri, Version, header};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use stdx::Tasks;
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
};
use tower::ServiceExt as _;

pub(crate) use self::supervise::Supervisor;

/// Requests of one gateway: it holds no more connections than that.
const STREAMS_MAX: u32 = 32_768;
/// What may be on its way of one request.
const STREAM_BYTES: u32 = 64 << 10;
/// Larger than those of all streams together, so that one that is not read stops no other.
const CONNECTION_BYTES: u32 = (1 << 31) - 1;
/// Bytes of a request's header: what the gateway lets in and a few of its own.
const HEADER_BYTES_MAX: u32 = 40 << 10;
/// How long a gateway may take to say what a connection is for.
const PURPOSE_TIME: Duration = Duration::from_secs(5);
/// How long open requests may take to end when the region stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Makes the socket, for its owner only. In place of one that a dead process may have left.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let mut new = path.to_owned();
    new.as_mut_os_string().push(".new");
    let made = || -> io::Result<UnixListener> {
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        // Nobody finds it before it is protected.
        std::fs::rename(&new, path)?;
        Ok(listener)
    };
    made().with_context(|| format!("cannot listen on {}", path.display()))
}

/// Serves gateways until `tasks` is told to stop.
pub(crate) async fn serve(listener: UnixListener, app: Router, sockets: Sockets, tasks: Tasks) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a gateway");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = tasks.stopping() => return,
        };
        let (app, sockets, stop) = (app.clone(), sockets.clone(), tasks.clone());
        tasks.spawn("gateway", connection(stream, app, sockets, stop));
    }
}

async fn connection(mut stream: UnixStream, app: Router, sockets: Sockets, stop: Tasks) {
    let purpose = tokio::time::timeout(PURPOSE_TIME, stream.read_u8()).await;
    match purpose {
        Ok(Ok(FOR_REQUESTS)) => requests(stream, app, stop).await,
        Ok(Ok(FOR_SOCKETS)) => {
            tracing::info!("a gateway has come");
            tokio::select! {
                () = sockets.serve_link(stream, app) => tracing::info!("a gateway has gone"),
                () = stop.stopping() => (),
            }
        }
        other => tracing::warn!(?other, "who is no gateway came to their socket"),
    }
}

async fn requests(stream: UnixStream, app: Router, stop: Tasks) {
    let service = service_fn(move |request| answer(app.clone(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_send_buf_size(STREAM_BYTES as usize)
        .max_header_list_size(HEADER_BYTES_MAX)
        // Clients may give up as many requests at once as they please: it is one of us who tells.
        .max_pending_accept_reset_streams(STREAMS_MAX as usize)
        .max_local_error_reset_streams(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.stopping() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a gateway's requests ended");
    }
}

async fn answer(
    app: Router,
    request: Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    match as_the_client_sent_it(request) {
        Some(request) => app.oneshot(request).await,
        None => Ok((StatusCode::BAD_REQUEST, "not a gateway's request").into_response()),
    }
}

/// The request with the client's address, and in the form of HTTP/1.1.
fn as_the_client_sent_it(request: Request<Incoming>) -> Option<Request<Body>> {
    let mut request = request.map(Body::new);
    let client = request.headers_mut().remove(CLIENT_HEADER)?;
    let client: SocketAddr = client.to_str().ok()?.parse().ok()?;
    request.extensions_mut().insert(ClientAddress(client));
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        request.headers_mut().insert(header::HOST, host);
    }
    let target = request.uri().path_and_query().cloned()?;
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    Some(request)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn the_socket_is_its_owners_and_replaces_one_that_was_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gateway.sock");
        for _start in 0..2 {
            let _listener = super::listen(&path).expect("it listens");
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            tokio::net::UnixStream::connect(&path).await.expect("it is reached");
        }
    }
}
