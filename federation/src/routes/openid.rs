//! `GET /openid/userinfo`: asked by third parties, which have no key to sign with.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{RawJson, json};
use crate::{error::Error, extract::Plain, inbound::Inbound};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new().route("/_matrix/federation/v1/openid/userinfo", get(get_openid_userinfo))
}

async fn get_openid_userinfo(
    State(inbound): State<Inbound>,
    request: Plain,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        access_token: Option<String>,
    }
    let refused = |errcode, text: &str| Error::new(StatusCode::UNAUTHORIZED, errcode, text);
    let Query { access_token } = request.query()?;
    let token =
        access_token.ok_or_else(|| refused("M_MISSING_TOKEN", "access_token is missing"))?;
    let user = inbound.inner.accounts.openid_user(&token).await;
    let user = user.map_err(|error| Error::internal(&error))?;
    let user = user.ok_or_else(|| refused("M_UNKNOWN_TOKEN", "Access token unknown or expired"))?;
    json(&json!({ "sub": user }))
}
