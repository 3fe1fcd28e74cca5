//! The way to push gateways: over the client that knows which addresses are not connected to.

use std::time::Duration;

use bytes::Bytes;
use push::{GatewayAnswer, GatewayFuture};

/// What a gateway may take for an answer, which is a list of a few keys.
const LIMITS: federation::Limits =
    federation::Limits { time: Duration::from_secs(30), body: 64 << 10 };

pub(super) struct Gateway(pub(super) federation::Client);

impl push::Gateway for Gateway {
    fn post<'a>(&'a self, url: &'a str, body: Bytes) -> GatewayFuture<'a> {
        Box::pin(async move {
            match self.0.post_url(url, body, LIMITS).await {
                Ok(answer) => {
                    Ok(GatewayAnswer { status: answer.status.as_u16(), body: answer.body })
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
