//! Messages to URLs that users name, such as push gateways: by the rules about addresses and
//! certificates that hold for servers, over connections that are kept for the next one.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Answer, Client, IDLE_FOR, Limits, RequestError, bounded_body, chain,
    connect::Connector,
    dns::Dns,
    outside::{is_acceptable, target_of},
};

/// Idle connections to one host, which may be the gateway of many users.
const IDLE_PER_HOST: usize = 8;
/// How long an address counts.
const FRESH: Duration = Duration::from_secs(60);
const HOSTS_MAX: usize = 1024;

pub(super) struct Posts {
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    dns: Dns,
    /// When each host was looked up.
    known: Mutex<HashMap<String, Instant>>,
}

impl Posts {
    pub(super) fn new(connector: Connector, dns: Dns) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector.clone());
        Self { http, connector, dns, known: Mutex::default() }
    }

    async fn post(
        &self,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, RequestError> {
        let host = self.find(&uri).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::USER_AGENT, concat!("Meridian/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| RequestError::Request(error.to_string()))?;
        request.headers_mut().extend(headers);
        self.http.request(request).await.map_err(|error| {
            // It may have moved.
            self.known.lock().remove(&host);
            RequestError::Connection(chain(&error))
        })
    }

    /// Makes sure that the connector knows where the host is.
    async fn find(&self, uri: &Uri) -> Result<String, RequestError> {
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let now = Instant::now();
        let is_fresh = |at: &Instant| now.duration_since(*at) < FRESH;
        if self.known.lock().get(&host).is_some_and(is_fresh) {
            return Ok(host);
        }
        self.connector.register(&target_of(&self.dns, uri).await?);
        let mut known = self.known.lock();
        if known.len() >= HOSTS_MAX {
            known.clear();
        }
        known.insert(host.clone(), now);
        Ok(host)
    }
}

impl Client {
    /// Posts JSON to a URL that a user named. Redirects are not followed. Cancelled when dropped.
    pub async fn post_url(
        &self,
        url: &str,
        body: Bytes,
        limits: Limits,
    ) -> Result<Answer, RequestError> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let (parts, body) = self.post_with(url, headers, body, limits).await?.into_parts();
        Ok(Answer { status: parts.status, body })
    }

    /// As [`post_url`](Self::post_url), of whatever the headers say.
    pub async fn post_with(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        limits: Limits,
    ) -> Result<Response<Bytes>, RequestError> {
        let uri: Option<Uri> = url.parse().ok().filter(is_acceptable);
        let uri = uri.ok_or_else(|| RequestError::Request("the URL is not followed".to_owned()))?;
        let exchange = async {
            let (parts, body) = self.inner.posts.post(uri, headers, body).await?.into_parts();
            let body = bounded_body(body, limits.body).await?;
            Ok(Response::from_parts(parts, body))
        };
        tokio::time::timeout(limits.time, exchange).await.unwrap_or(Err(RequestError::Timeout))
    }
}
