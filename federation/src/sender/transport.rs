//! What carries transactions: the client, or what a test puts in its place.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::Method;
use ruma::ServerName;

use crate::{Client, Limits, RequestError, client::Answer};

const LIMITS: Limits = Limits { time: Duration::from_secs(60), body: 4 << 20 };

/// Dropping it cancels the request.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Answer, RequestError>> + Send + 'a>>;

/// A way to put a body to a path of another server. Bounded in time and in the size of the answer.
pub trait Transport: Send + Sync + 'static {
    fn put<'a>(&'a self, server: &'a ServerName, path: &'a str, body: Bytes) -> Sending<'a>;
}

impl Transport for Client {
    fn put<'a>(&'a self, server: &'a ServerName, path: &'a str, body: Bytes) -> Sending<'a> {
        Box::pin(self.request(server, Method::PUT, path, Some(body), LIMITS))
    }
}
