//! One question or message to one application service, with the older path where the newer one is
//! not known ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#legacy-routes

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    Registration,
    ports::{Answer, Call, Method, Transport},
};

/// Asks application services. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) transport: Arc<dyn Transport>,
}

/// What is sent, and to which path.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// With its slash.
    pub(crate) path: &'a str,
    /// Where the path was before; empty if it is newer than that.
    pub(crate) legacy_path: &'a str,
    pub(crate) body: Bytes,
    pub(crate) time: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no URL is configured")]
    NoUrl,
    #[error("{0}")]
    Unreachable(String),
}

impl Caller {
    pub(crate) async fn call(
        &self,
        service: &Registration,
        request: &Request<'_>,
    ) -> Result<Answer, CallError> {
        let base = service.url.as_deref().ok_or(CallError::NoUrl)?;
        let call = |url: String| Call {
            method: request.method,
            url,
            hs_token: service.hs_token.clone(),
            body: request.body.clone(),
            time: request.time,
        };
        let answer = self.transport.call(call(format!("{base}{}", request.path))).await;
        let answer = answer.map_err(CallError::Unreachable)?;
        if request.legacy_path.is_empty() || !is_unknown_route(&answer) {
            return Ok(answer);
        }
        // Who knows the older path only looks for the token in the query.
        let path = request.legacy_path;
        let sign = if path.contains('?') { '&' } else { '?' };
        let token = segment(&service.hs_token);
        let url = format!("{base}{path}{sign}access_token={token}");
        self.transport.call(call(url)).await.map_err(CallError::Unreachable)
    }
}

/// An application service that knows the path and not what is asked for says so with an error code.
fn is_unknown_route(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        errcode: Option<String>,
    }
    if !matches!(answer.status, 404 | 405 | 501) {
        return false;
    }
    let errcode = serde_json::from_slice::<Refusal>(&answer.body).ok();
    errcode.and_then(|refusal| refusal.errcode).is_none_or(|code| code == "M_UNRECOGNIZED")
}

/// One segment of a path, or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}
