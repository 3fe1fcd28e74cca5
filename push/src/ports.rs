//! What this crate needs of the network, as a port: it says what is posted where, an edge knows how.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

/// The answer of a [`Gateway`]. Dropping it cancels the request.
pub type GatewayFuture<'a> =
    Pin<Box<dyn Future<Output = Result<GatewayAnswer, String>> + Send + 'a>>;

/// An answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct GatewayAnswer {
    pub status: u16,
    pub body: Bytes,
    /// What `Retry-After` says, if it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// A message to a push resource ([RFC 8030]), encrypted as `aes128gcm` ([RFC 8291]).
///
/// [RFC 8030]: https://www.rfc-editor.org/rfc/rfc8030
/// [RFC 8291]: https://www.rfc-editor.org/rfc/rfc8291
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPushMessage {
    pub body: Bytes,
    /// How long the push service keeps it for an app that is not connected.
    pub ttl: Duration,
    /// `high` or `normal`.
    pub urgency: &'static str,
    /// A message that waits at the push service gives way to a newer one with the same topic. At most
    /// 32 characters of base64 for URLs.
    pub topic: Option<String>,
    /// The header of this name ([RFC 8292](https://www.rfc-editor.org/rfc/rfc8292)).
    pub authorization: String,
}

/// The way to push gateways and push services. Users name where they are, so the way there is not
/// trusted: the address may be one that is not connected to. Bounded in time and in size of the answer;
/// an error says why there is none. Redirects are not followed.
pub trait Gateway: Send + Sync + 'static {
    /// Posts JSON.
    fn post<'a>(&'a self, url: &'a str, body: Bytes) -> GatewayFuture<'a>;

    fn push<'a>(&'a self, url: &'a str, message: WebPushMessage) -> GatewayFuture<'a>;
}
