//! What an operator's tools ask: is it alive, may it get traffic, how is it doing.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use client_api::Sockets;
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use storage::Store;

use crate::app_state::SharedState;

/// `/_meridian/health`, `/_meridian/ready`, `/_meridian/metrics`.
pub(crate) fn router() -> Router<SharedState> {
    Router::new()
        .route("/_meridian/health", get(async || "OK"))
        .route("/_meridian/ready", get(ready))
        .route("/_meridian/metrics", get(render_metrics))
}

/// Whether changes are accepted.
async fn ready(State(store): State<Store>) -> Response {
    if store.is_low_on_space() {
        let reason = "the disk is nearly full: reads only";
        return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    }
    "OK".into_response()
}

async fn render_metrics(
    State(handle): State<Option<PrometheusHandle>>,
    State(store): State<Store>,
    State(sockets): State<Sockets>,
) -> Response {
    let Some(handle) = handle else { return StatusCode::NOT_FOUND.into_response() };
    metrics::gauge!("meridian_store_position").set(store.log().position() as f64);
    for (name, done) in store.log().consumers() {
        let behind = store.log().position().saturating_sub(done) as f64;
        metrics::gauge!("meridian_log_behind", "consumer" => name).set(behind);
    }
    metrics::gauge!("meridian_store_disk_bytes").set(store.disk_bytes() as f64);
    metrics::gauge!("meridian_websockets").set(sockets.count() as f64);
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (headers, handle.render()).into_response()
}
