//! The route table of the server-server API. One group of endpoints per file, named as ruma names
//! its modules; what is not in the list answers `M_UNRECOGNIZED`.

mod backfill;
mod device;
mod directory;
mod discovery;
mod event;
mod keys;
mod media;
mod membership;
mod openid;
mod policy;
mod query;
mod space;
mod thirdparty;
mod transactions;
mod user_keys;

use ::media::Media;
use axum::{
    Router,
    extract::FromRef,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{error::Error, inbound::Inbound};

/// The server-server API.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .merge(backfill::router())
        .merge(device::router())
        .merge(directory::router())
        .merge(discovery::router())
        .merge(event::router())
        .merge(keys::router())
        .merge(membership::router())
        .merge(openid::router())
        .merge(policy::router())
        .merge(query::router())
        .merge(space::router())
        .merge(thirdparty::router())
        .merge(transactions::router())
        .merge(user_keys::router())
        .method_not_allowed_fallback(async || Error::method_not_allowed())
        .layer(CatchPanicLayer::custom(|_panic| crate::error::panicked()))
}

/// Its content repository, which needs one piece more.
pub fn media_router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
    Media: FromRef<S>,
{
    media::router()
        .method_not_allowed_fallback(async || Error::method_not_allowed())
        .layer(CatchPanicLayer::custom(|_panic| crate::error::panicked()))
}

/// A JSON body that is already serialised.
struct RawJson(Bytes);

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (StatusCode::OK, [(header::CONTENT_TYPE, json)], self.0).into_response()
    }
}

/// A body with PDUs, which keep every byte: a number read and written again may not be the same.
#[derive(Serialize)]
struct PdusBody<'a> {
    origin: &'a ruma::ServerName,
    origin_server_ts: u64,
    pdus: Vec<&'a RawValue>,
}

impl<'a> PdusBody<'a> {
    fn new(inbound: &'a Inbound, pdus: &'a [Bytes]) -> Result<Self, Error> {
        let origin_server_ts = inbound.inner.clock.now_ms();
        Ok(Self { origin: inbound.server_name(), origin_server_ts, pdus: raw(pdus)? })
    }
}

fn json(body: &impl Serialize) -> Result<RawJson, Error> {
    let body = serde_json::to_vec(body).map_err(|error| Error::internal(&error))?;
    Ok(RawJson(body.into()))
}

/// PDUs that are JSON already, as values of a body.
fn raw(pdus: &[Bytes]) -> Result<Vec<&RawValue>, Error> {
    pdus.iter()
        .map(|pdu| serde_json::from_slice(pdu).map_err(|error| Error::internal(&error)))
        .collect()
}
