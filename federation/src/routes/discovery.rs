//! `GET /version`.

use axum::{Router, routing::get};
use serde_json::json;

use super::{RawJson, json};
use crate::error::Error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new().route("/_matrix/federation/v1/version", get(get_server_version))
}

async fn get_server_version() -> Result<RawJson, Error> {
    let server = json!({ "name": "Meridian", "version": env!("CARGO_PKG_VERSION") });
    json(&json!({ "server": server }))
}
