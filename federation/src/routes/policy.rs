//! `POST /_matrix/policy/v1/sign`, if this server is a policy server. If it is none, the endpoint is
//! not there.

use axum::{
    Router,
    extract::{FromRef, FromRequestParts, State},
    routing::post,
};
use http::{StatusCode, request::Parts};
use rooms::peers::PolicyAnswer;
use serde_json::value::RawValue;

use super::{RawJson, json};
use crate::{error::Error, extract::Signed, inbound::Inbound};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new().route("/_matrix/policy/v1/sign", post(sign))
}

/// This server is a policy server, which is known before it is asked who wants to know.
struct Serving;

impl<S> FromRequestParts<S> for Serving
where
    Inbound: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(_parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let serves = Inbound::from_ref(state).inner.rooms.policy_key().is_some();
        if serves { Ok(Self) } else { Err(Error::unrecognized("This server is no policy server")) }
    }
}

async fn sign(
    _serving: Serving,
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let _is_json: &RawValue = serde_json::from_slice(&request.body)
        .map_err(|error| Error::not_json(format!("The body is not JSON: {error}")))?;
    match inbound.inner.rooms.peer_policy_sign(&origin, request.body.clone()).await? {
        PolicyAnswer::Signed(signatures) => json(&signatures),
        // "400 ... M_FORBIDDEN - The Policy Server refuses to sign the event."
        PolicyAnswer::Refused(reason) => {
            Err(Error::new(StatusCode::BAD_REQUEST, "M_FORBIDDEN", reason))
        }
    }
}
