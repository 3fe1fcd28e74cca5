//! Another server: TLS on loopback, and whatever a test wants it to answer.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{Request, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use stdx::Tasks;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// `None` never answers.
pub(crate) type Reply = Option<Response>;

type Answer = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) host: String,
    pub(crate) authorization: Option<String>,
    pub(crate) version: Version,
    pub(crate) body: Bytes,
}

/// Stops when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How many requests came, and how many connections ended.
    counts: watch::Sender<(usize, usize)>,
    tasks: Tasks,
}

impl Peer {
    pub(crate) async fn start(
        certificate: super::Certificate,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0", certificate, &[b"h2", b"http/1.1"], answer).await
    }

    pub(crate) async fn at(
        address: &str,
        certificate: super::Certificate,
        protocols: &[&[u8]],
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (seen, answer): (Arc<Mutex<Vec<Seen>>>, Answer) = (Arc::default(), Arc::new(answer));
        let (counts, _) = watch::channel((0, 0));
        let (all, requests) = (Arc::clone(&seen), counts.clone());
        Self::listen(address, certificate, protocols, seen, counts, move |stream| {
            let (all, requests, answer) = (all.clone(), requests.clone(), answer.clone());
            async move {
                let service = service_fn(move |request| {
                    respond(request, all.clone(), requests.clone(), answer.clone())
                });
                let builder = Builder::new(TokioExecutor::new());
                let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// A server with everything that is behind these routes.
    pub(crate) async fn serving(certificate: super::Certificate, router: axum::Router) -> Self {
        let (seen, (counts, _)) = (Arc::default(), watch::channel((0, 0)));
        let protocols: &[&[u8]] = &[b"h2", b"http/1.1"];
        Self::listen("127.0.0.1:0", certificate, protocols, seen, counts, move |stream| {
            let service = TowerToHyperService::new(router.clone());
            async move {
                let builder = Builder::new(TokioExecutor::new());
                let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// Speaks no HTTP: writes `first`, then `rest` over and over until the other side has enough.
    pub(crate) async fn babbling(
        certificate: super::Certificate,
        first: &'static str,
        rest: &'static str,
    ) -> Self {
        let (seen, (counts, _)) = (Arc::default(), watch::channel((0, 0)));
        let address = "127.0.0.1:0";
        Self::listen(address, certificate, &[b"http/1.1"], seen, counts, move |stream| async move {
            let mut stream = stream;
            let mut result = stream.write_all(first.as_bytes()).await;
            let chunk = rest.repeat(if rest.is_empty() { 0 } else { 4096 / rest.len() + 1 });
            while result.is_ok() && !chunk.is_empty() {
                result = stream.write_all(chunk.as_bytes()).await;
            }
            let _gone = stream.shutdown().await;
        })
        .await
    }

    async fn listen<F, W>(
        address: &str,
        certificate: super::Certificate,
        protocols: &[&[u8]],
        seen: Arc<Mutex<Vec<Seen>>>,
        counts: watch::Sender<(usize, usize)>,
        work: W,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        W: Fn(TlsSocket) -> F + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let tls = TlsAcceptor::from(certificate.server(protocols));
        let (tasks, work, ended) = (Tasks::new(), Arc::new(work), counts.clone());
        let connections = tasks.clone();
        tasks.spawn_until_stopped("peer", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, work, ended) = (tls.clone(), Arc::clone(&work), ended.clone());
                connections.spawn_until_stopped("connection", async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        work(Box::new(stream)).await;
                    }
                    ended.send_modify(|(_, ended)| *ended += 1);
                });
            }
        });
        Self { address, seen, counts, tasks }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }

    /// Until so many requests have come.
    pub(crate) async fn has_seen(&self, count: usize) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|(requests, _)| *requests >= count).await.expect("the peer is there");
    }

    /// Until so many connections are over.
    pub(crate) async fn has_ended(&self, count: usize) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|(_, ended)| *ended >= count).await.expect("the peer is there");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}
type TlsSocket = Box<dyn Socket>;

async fn respond(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    counts: watch::Sender<(usize, usize)>,
    answer: Answer,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    let authority = parts.uri.authority().map(ToString::to_string);
    let request = Seen {
        method: parts.method.to_string(),
        uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: text(header::HOST).or(authority).unwrap_or_default(),
        authorization: text(header::AUTHORIZATION),
        version: parts.version,
        body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    seen.lock().push(request.clone());
    counts.send_modify(|(requests, _)| *requests += 1);
    match answer(&request) {
        Some(response) => Ok(response),
        None => std::future::pending().await,
    }
}

/// 200 and this body.
pub(crate) fn json(body: impl ToString) -> Reply {
    Some(Response::new(Body::from(body.to_string())))
}

pub(crate) fn status(status: StatusCode) -> Reply {
    Some(status.into_response())
}

/// Where nobody may come.
pub(crate) struct Canary(StdListener);

impl Canary {
    /// On a loopback address that is not [open](super::Net::config).
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.2:0")
    }

    pub(crate) fn at(address: &str) -> Self {
        let listener = StdListener::bind(address).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Whoever connected is in the queue of the listener, even if they have gone.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.accept().is_err()
    }
}
