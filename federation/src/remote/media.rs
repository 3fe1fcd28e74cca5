//! Content of other servers: section "Content Repository" of the server-server API.

mod multipart;

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use media::ports::{Fetching, RemoteContent, RemoteError, RemoteMedia};
use ruma::ServerName;
use serde::Deserialize;

use self::multipart::Parts;
use super::{
    Remote,
    paths::{Path, encode},
};
use crate::{RequestError, client::Streamed};

/// Beyond what the other server was asked to wait, an answer may take this long to begin.
const PATIENCE: Duration = Duration::from_secs(30);

impl RemoteMedia for Remote {
    fn download<'a>(
        &'a self,
        server: &'a ServerName,
        media_id: &'a str,
        wait: Duration,
    ) -> Fetching<'a> {
        Box::pin(async move {
            let time = wait + PATIENCE;
            let wait_ms = wait.as_millis().to_string();
            let path = Path::v1("media/download").and(media_id).query("timeout_ms", &wait_ms);
            let path = String::from(path);
            let answer =
                self.client.stream(server, &path, true, time).await.map_err(unreachable)?;
            if answer.status.is_success() {
                return self.content(answer, time).await;
            }
            match refused(answer, time).await {
                // "Fall back to the deprecated endpoint if the other returns 404 M_UNRECOGNIZED"
                Refusal::Unrecognized => self.download_unsigned(server, media_id, wait).await,
                Refusal::Final(error) => Err(error),
            }
        })
    }

    fn page<'a>(&'a self, url: &'a str, wait: Duration) -> Fetching<'a> {
        Box::pin(self.at_url(url, wait))
    }
}

impl Remote {
    async fn at_url(&self, url: &str, time: Duration) -> Result<RemoteContent, RemoteError> {
        let answer = self.client.stream_url(url, time).await.map_err(unreachable)?;
        match answer.status {
            status if status.is_success() => Ok(plain(answer)),
            StatusCode::NOT_FOUND => Err(RemoteError::NotFound),
            status => Err(RemoteError::Unreachable(format!("where it points to, {status}"))),
        }
    }

    async fn download_unsigned(
        &self,
        server: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<RemoteContent, RemoteError> {
        let (time, wait_ms) = (wait + PATIENCE, wait.as_millis());
        let (name, media_id) = (encode(server.as_str()), encode(media_id));
        let path = format!(
            "/_matrix/media/v3/download/{name}/{media_id}?allow_remote=false&timeout_ms={wait_ms}"
        );
        let answer = self.client.stream(server, &path, false, time).await.map_err(unreachable)?;
        if answer.status.is_success() {
            return Ok(plain(answer));
        }
        match refused(answer, time).await {
            Refusal::Unrecognized => Err(RemoteError::NotFound),
            Refusal::Final(error) => Err(error),
        }
    }

    /// The second part of an answer, or what that part points to.
    async fn content(
        &self,
        answer: Streamed,
        time: Duration,
    ) -> Result<RemoteContent, RemoteError> {
        let boundary = text(&answer.headers, header::CONTENT_TYPE).and_then(multipart::boundary);
        let boundary = boundary.ok_or_else(|| malformed("it is not in parts"))?;
        let body = answer.into_stream().map(|piece| piece.map_err(unreachable)).boxed();
        let opening = async {
            let mut parts = Parts::new(body, &boundary);
            parts.next_part().await?;
            parts.skip_part().await?;
            let headers = parts.next_part().await?;
            Ok((headers, parts))
        };
        let opened = tokio::time::timeout(time, opening).await;
        let (headers, parts) = opened.unwrap_or_else(|_| Err(malformed("it stops")))?;
        let Some(url) = text(&headers, header::LOCATION) else {
            let (content_type, filename) = described(&headers);
            return Ok(RemoteContent { content_type, filename, body: parts.into_part().boxed() });
        };
        self.at_url(url, time).await
    }
}

fn plain(answer: Streamed) -> RemoteContent {
    let (content_type, filename) = described(&answer.headers);
    let body = answer.into_stream().map(|piece| piece.map_err(unreachable)).boxed();
    RemoteContent { content_type, filename, body }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Type and file name.
fn described(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let disposition = text(headers, header::CONTENT_DISPOSITION);
    (
        text(headers, header::CONTENT_TYPE).map(str::to_owned),
        disposition.and_then(media::filename_of),
    )
}

fn unreachable(error: RequestError) -> RemoteError {
    RemoteError::Unreachable(error.to_string())
}

fn malformed(reason: &str) -> RemoteError {
    RemoteError::Malformed(reason.to_owned())
}

enum Refusal {
    /// It does not know the endpoint.
    Unrecognized,
    Final(RemoteError),
}

async fn refused(answer: Streamed, time: Duration) -> Refusal {
    #[derive(Deserialize, Default)]
    struct Body {
        #[serde(default)]
        errcode: String,
    }
    let status = answer.status;
    let body = answer.refusal(time).await.unwrap_or_default();
    let body: Body = serde_json::from_slice(&body).unwrap_or_default();
    Refusal::Final(match (status.as_u16(), body.errcode.as_str()) {
        (404 | 405, "M_UNRECOGNIZED" | "") => return Refusal::Unrecognized,
        (_, "M_NOT_YET_UPLOADED") => RemoteError::NotYetUploaded,
        (_, "M_TOO_LARGE") | (413, _) => RemoteError::TooLarge,
        (404, _) => RemoteError::NotFound,
        _ => RemoteError::Unreachable(format!("it answers {status}")),
    })
}
