//! Requests to other servers: found, authenticated, bounded.

mod addresses;
mod connect;
mod discovery;
mod dns;
mod identity;
mod outside;
mod posts;
mod streamed;
mod well_known;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use events::{RequestToSign, SigningKey};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use ruma::{OwnedServerName, ServerName};
use stdx::SharedClock;

pub use self::dns::{Lookup, Resolver, Service};
use self::{
    connect::Connector,
    discovery::Discovery,
    dns::{Dns, SystemResolver},
    outside::Outside,
    posts::Posts,
};
pub(crate) use self::{identity::InNameOf, streamed::Streamed};
use crate::{Config, x_matrix::XMatrix};

/// Idle connections to one server.
const IDLE_PER_SERVER: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(60);

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub time: Duration,
    /// Bytes of the body.
    pub body: usize,
}

impl Limits {
    /// For questions that a user may be waiting for.
    pub const ORDINARY: Self = Self { time: Duration::from_secs(30), body: 16 << 20 };
    /// For whole rooms.
    pub const LARGE: Self = Self { time: Duration::from_secs(180), body: 256 << 20 };
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    Discovery(String),
    #[error("no connection: {0}")]
    Connection(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request cannot be written: {0}")]
    Request(String),
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Talks to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    server_name: OwnedServerName,
    key: SigningKey,
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    discovery: Discovery,
    /// For URLs that other servers name.
    outside: Outside,
    /// For URLs that users name.
    posts: Posts,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server_name", &self.inner.server_name).finish()
    }
}

impl Client {
    /// Fails if a certificate authority cannot be read, or the system's resolver is not configured.
    pub fn new(
        config: &Config,
        server_name: OwnedServerName,
        key: SigningKey,
        clock: SharedClock,
    ) -> Result<Self, RequestError> {
        let resolver = Arc::new(SystemResolver::new()?);
        Self::with_resolver(config, resolver, server_name, key, clock)
    }

    /// The same, with names looked up elsewhere.
    pub fn with_resolver(
        config: &Config,
        resolver: Arc<dyn Resolver>,
        server_name: OwnedServerName,
        key: SigningKey,
        clock: SharedClock,
    ) -> Result<Self, RequestError> {
        let connector = Connector::new(config)?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_PER_SERVER)
            .build(connector.clone());
        let dns = Dns::new(resolver);
        let discovery = Discovery::new(&connector, dns.clone(), clock);
        let outside = Outside::new(connector.apart(), dns.clone());
        let posts = Posts::new(connector.apart(), dns);
        let inner = Inner { server_name, key, http, connector, discovery, outside, posts };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn server_name(&self) -> &ServerName {
        &self.inner.server_name
    }

    /// A signed request; `path` with its query. Cancelled when dropped.
    pub async fn request(
        &self,
        server: &ServerName,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limits: Limits,
    ) -> Result<Answer, RequestError> {
        let authorization = self.authorization(server, &method, path, body.as_deref())?;
        self.send(server, method, path, body, Some(authorization), limits).await
    }

    /// A request that nobody need be known for, such as one for keys.
    pub async fn request_unsigned(
        &self,
        server: &ServerName,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limits: Limits,
    ) -> Result<Answer, RequestError> {
        self.send(server, method, path, body, None, limits).await
    }

    fn authorization(
        &self,
        server: &ServerName,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<String, RequestError> {
        let Inner { server_name, key, .. } = &*self.inner;
        let request = RequestToSign {
            method: method.as_str(),
            uri: path,
            origin: server_name,
            destination: Some(server),
            content: body,
        };
        let sig = events::sign_request(&request, key)
            .map_err(|error| RequestError::Request(error.to_string()))?;
        let header = XMatrix {
            origin: server_name.clone(),
            destination: Some(server.to_owned()),
            key: key.key_id().to_owned(),
            sig,
        };
        Ok(header.to_header())
    }

    async fn send(
        &self,
        server: &ServerName,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        authorization: Option<String>,
        limits: Limits,
    ) -> Result<Answer, RequestError> {
        let exchange = async {
            let response = self.exchange(server, method, path, body, authorization).await?;
            let status = response.status();
            let body = bounded_body(response.into_body(), limits.body).await?;
            Ok(Answer { status, body })
        };
        tokio::time::timeout(limits.time, exchange).await.unwrap_or(Err(RequestError::Timeout))
    }

    /// An answer before its body is read. Bounded in time by the caller.
    async fn exchange(
        &self,
        server: &ServerName,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        authorization: Option<String>,
    ) -> Result<Response<Incoming>, RequestError> {
        let target = self.inner.discovery.find(server).await?;
        let uri = format!("https://{}{path}", target.authority);
        let bad = |error: &dyn std::fmt::Display| RequestError::Request(error.to_string());
        let uri: Uri = uri.parse().map_err(|error| bad(&error))?;
        self.inner.connector.register(&target);
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = authorization {
            let value = HeaderValue::try_from(authorization).map_err(|error| bad(&error))?;
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .header(header::USER_AGENT, concat!("Meridian/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| bad(&error))?;
        let response = self.inner.http.request(request).await;
        response.map_err(|error| RequestError::Connection(chain(&error)))
    }
}

/// Reads a body that ends within `limit` bytes.
async fn bounded_body<B>(mut body: B, limit: usize) -> Result<Bytes, RequestError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| RequestError::Connection(chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            if collected.len() + data.len() > limit {
                return Err(RequestError::TooLarge(limit));
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

/// The causes too: hyper's own texts say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = std::fmt::Write::write_fmt(&mut text, format_args!(": {error}"));
        cause = error.source();
    }
    text
}
