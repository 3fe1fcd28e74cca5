//! What this crate needs of the network, as a port: it says what is asked where, an edge knows how.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

/// The answer of a [`Transport`]. Dropping it cancels the request.
pub type TransportFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
}

/// A request to an application service.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Begins with what the operator has written, so any address is meant.
    pub url: String,
    /// For the `Authorization` header.
    pub hs_token: String,
    /// JSON; empty for a `GET`.
    pub body: Bytes,
    /// What all of it may take.
    pub time: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// The way to application services.
pub trait Transport: Send + Sync + 'static {
    /// Bounded in time and in size of the answer; an error says why there is none.
    fn call(&self, call: Call) -> TransportFuture<'_>;
}
