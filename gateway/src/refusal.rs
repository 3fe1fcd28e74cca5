//! What a client is answered when the core does not.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, StatusCode, header};

/// Seconds after which a client may ask again.
const RETRY_AFTER: &str = "2";

pub(crate) fn core_is_away() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "The server restarts")
}

/// The request went to the core, and whether it was carried out is not known.
pub(crate) fn core_went_away() -> Response {
    error(StatusCode::BAD_GATEWAY, "The server has gone away before it answered")
}

pub(crate) fn bad_request(why: &'static str) -> Response {
    error(StatusCode::BAD_REQUEST, why)
}

fn error(status: StatusCode, why: &'static str) -> Response {
    let body = serde_json::json!({ "errcode": "M_UNKNOWN", "error": why }).to_string();
    // Scripts of any page may read it, as with every answer of the client-server API.
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::RETRY_AFTER, RETRY_AFTER),
    ];
    (status, headers, Body::from(body)).into_response()
}
