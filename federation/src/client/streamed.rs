//! Answers whose body is read as it comes, because it is content and not a message.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use ruma::ServerName;

use super::{Answer, Client, Limits, RequestError, bounded_body, chain, outside::is_acceptable};

/// What a refusal may say.
const REFUSAL_MAX: usize = 64 << 10;
const REDIRECTS_MAX: usize = 5;

pub(crate) struct Streamed {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Streamed {
    fn new(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body }
    }

    /// Bounded in size and in time by whoever reads it.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, RequestError>> + Send {
        let lost = |error| RequestError::Connection(chain(&error));
        BodyDataStream::new(self.body).map(move |piece| piece.map_err(lost))
    }

    /// The body of an error.
    pub(crate) async fn refusal(self, time: Duration) -> Result<Bytes, RequestError> {
        let read = bounded_body(self.body, REFUSAL_MAX);
        tokio::time::timeout(time, read).await.unwrap_or(Err(RequestError::Timeout))
    }
}

impl Client {
    /// `time` is how long the answer may take to begin.
    pub(crate) async fn stream(
        &self,
        server: &ServerName,
        path: &str,
        signed: bool,
        time: Duration,
    ) -> Result<Streamed, RequestError> {
        let authorization = match signed {
            true => Some(self.authorization(server, &Method::GET, path, None)?),
            false => None,
        };
        let exchange = self.exchange(server, Method::GET, path, None, authorization);
        let response = tokio::time::timeout(time, exchange).await;
        Ok(Streamed::new(response.unwrap_or(Err(RequestError::Timeout))?))
    }

    /// The same of a URL that another server names.
    pub(crate) async fn stream_url(
        &self,
        url: &str,
        time: Duration,
    ) -> Result<Streamed, RequestError> {
        let uri: Option<Uri> = url.parse().ok().filter(is_acceptable);
        let uri = uri.ok_or_else(|| RequestError::Request("the URL is not followed".to_owned()))?;
        let response = tokio::time::timeout(time, self.inner.outside.get(uri, REDIRECTS_MAX)).await;
        Ok(Streamed::new(response.unwrap_or(Err(RequestError::Timeout))?))
    }
    /// A whole answer of such a URL.
    pub(crate) async fn get_url(&self, url: &str, limits: Limits) -> Result<Answer, RequestError> {
        let exchange = async {
            let Streamed { status, body, .. } = self.stream_url(url, limits.time).await?;
            Ok(Answer { status, body: bounded_body(body, limits.body).await? })
        };
        tokio::time::timeout(limits.time, exchange).await.unwrap_or(Err(RequestError::Timeout))
    }
}
