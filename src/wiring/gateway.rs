//! The way to push gateways and push services: over the client that knows which addresses are not
//! connected to.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use push::{GatewayAnswer, GatewayFuture, WebPushMessage};

/// What a gateway may take for an answer, which is a list of a few keys.
const LIMITS: federation::Limits =
    federation::Limits { time: Duration::from_secs(30), body: 64 << 10 };
const TTL: HeaderName = HeaderName::from_static("ttl");
const TOPIC: HeaderName = HeaderName::from_static("topic");
const URGENCY: HeaderName = HeaderName::from_static("urgency");

pub(super) struct Gateway(pub(super) federation::Client);

impl push::Gateway for Gateway {
    fn post<'a>(&'a self, url: &'a str, body: Bytes) -> GatewayFuture<'a> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        Box::pin(self.send(url, headers, body))
    }

    fn push<'a>(&'a self, url: &'a str, message: WebPushMessage) -> GatewayFuture<'a> {
        Box::pin(async move {
            let headers = headers(&message).map_err(|error| error.to_string())?;
            self.send(url, headers, message.body).await
        })
    }
}

fn headers(message: &WebPushMessage) -> Result<HeaderMap, header::InvalidHeaderValue> {
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
        (header::AUTHORIZATION, HeaderValue::try_from(&message.authorization)?),
        (TTL, HeaderValue::from(message.ttl.as_secs())),
        (URGENCY, HeaderValue::from_static(message.urgency)),
    ]);
    if let Some(topic) = &message.topic {
        headers.insert(TOPIC, HeaderValue::try_from(topic)?);
    }
    Ok(headers)
}

impl Gateway {
    async fn send(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<GatewayAnswer, String> {
        let answer = self.0.post_with(url, headers, body, LIMITS).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (status, retry_after) = (answer.status().as_u16(), retry_after(&answer));
        Ok(GatewayAnswer { status, body: answer.into_body(), retry_after })
    }
}

/// Only as a number of seconds, which is how it is sent to those who are too many.
fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
