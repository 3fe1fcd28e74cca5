//! What this crate needs of the network, as a port: it says what is posted where, an edge knows how.

use std::{future::Future, pin::Pin};

use bytes::Bytes;

/// The answer of a [`Gateway`]. Dropping it cancels the request.
pub type GatewayFuture<'a> =
    Pin<Box<dyn Future<Output = Result<GatewayAnswer, String>> + Send + 'a>>;

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct GatewayAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// The way to push gateways.
pub trait Gateway: Send + Sync + 'static {
    /// Posts JSON to a URL that a user named, so the way there is not trusted: its address may be
    /// one that is not connected to. Bounded in time and in size of the answer; an error says why
    /// there is none.
    fn post<'a>(&'a self, url: &'a str, body: Bytes) -> GatewayFuture<'a>;
}
