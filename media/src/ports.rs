//! What this crate asks of other servers; the federation edge knows how.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use ruma::ServerName;

/// Content of another server, as it comes. Nothing of it is checked.
pub struct RemoteContent {
    pub content_type: Option<String>,
    pub filename: Option<String>,
    pub body: BoxStream<'static, Result<Bytes, RemoteError>>,
}

/// Why another server gave no content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("it has no such content")]
    NotFound,
    #[error("it waits for the content itself")]
    NotYetUploaded,
    #[error("the content is too large for it")]
    TooLarge,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("its answer cannot be used: {0}")]
    Malformed(String),
}

pub type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<RemoteContent, RemoteError>> + Send + 'a>>;

/// The content repositories of others.
pub trait RemoteMedia: Send + Sync {
    /// Answers once the content begins to arrive, which the other server may put off for `wait` if
    /// it has not been uploaded yet. Dropping it, or the body, ends the transfer.
    fn download<'a>(
        &'a self,
        server: &'a ServerName,
        media_id: &'a str,
        wait: Duration,
    ) -> Fetching<'a>;

    /// What is at an `https` URL that a user named: an answer that is no success is an error. `wait`
    /// is how long the answer may take to begin.
    fn page<'a>(&'a self, url: &'a str, wait: Duration) -> Fetching<'a>;
}
