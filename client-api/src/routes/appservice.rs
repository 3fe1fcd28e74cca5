//! `POST /appservice/{appserviceId}/ping` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#pinging-1

use appservice::PingError;
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::{
    error::Error,
    extract::{AuthedRaw, json_or_default},
    gate::Gate,
    respond::RawJson,
};

/// Of an answer that is not as it should be, so much is shown.
const SHOWN_BYTES_MAX: usize = 4096;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    // "unstable" is what bridges of before version 1.7 use.
    ["v1", "unstable/fi.mau.msc2659"].into_iter().fold(Router::new(), |router, version| {
        let path = format!("/_matrix/client/{version}/appservice/{{appservice_id}}/ping");
        router.route(&path, post(ping))
    })
}

async fn ping(
    State(gate): State<Gate>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Response, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        transaction_id: Option<String>,
    }
    let [id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    if session.appservice.as_ref().is_none_or(|service| &*service.id != id) {
        return Err(Error::forbidden("The token is not that of the application service"));
    }
    let body: Body = json_or_default(&body)?;
    match gate.appservices().ping(id, body.transaction_id.as_deref()).await {
        Ok(took) => {
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            Ok(RawJson(json!({ "duration_ms": duration_ms }).to_string().into()).into_response())
        }
        Err(error) => Ok(failed(&error)),
    }
}

fn failed(error: &PingError) -> Response {
    let (status, errcode) = match error {
        PingError::NoUrl => (StatusCode::BAD_REQUEST, "M_URL_NOT_SET"),
        PingError::BadStatus(_) => (StatusCode::BAD_GATEWAY, "M_BAD_STATUS"),
        PingError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "M_CONNECTION_TIMEOUT"),
        PingError::Unreachable(_) => (StatusCode::BAD_GATEWAY, "M_CONNECTION_FAILED"),
    };
    let mut body = json!({ "errcode": errcode, "error": error.to_string() });
    if let PingError::BadStatus(answer) = error {
        let shown = &answer.body[..answer.body.len().min(SHOWN_BYTES_MAX)];
        body["status"] = json!(answer.status);
        body["body"] = json!(String::from_utf8_lossy(shown));
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
