//! Responses: ruma types, or JSON bytes that the domain already has.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use ruma::api::{OutgoingResponse, OutgoingResponseExt as _};

use crate::error::Error;

/// A ruma response.
pub(crate) struct Matrix<T>(pub(crate) T);

impl<T: OutgoingResponse> IntoResponse for Matrix<T> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<Vec<u8>>() {
            Ok(response) => response.map(Body::from).into_response(),
            Err(error) => Error::internal(&error).into_response(),
        }
    }
}

/// A JSON body that is already serialised.
pub(crate) struct RawJson(pub(crate) Bytes);

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (StatusCode::OK, [(header::CONTENT_TYPE, json)], self.0).into_response()
    }
}

/// `{}`.
pub(crate) struct Empty;

impl IntoResponse for Empty {
    fn into_response(self) -> Response {
        RawJson(Bytes::from_static(b"{}")).into_response()
    }
}
