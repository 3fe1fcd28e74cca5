//! `/_matrix/client/*/user/{userId}/openid/request_token` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#openid

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use serde_json::json;

use super::config::own;
use crate::{error::Error, extract::AuthedRaw, gate::Gate, respond::RawJson};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    ["r0", "v3"].into_iter().fold(Router::new(), |router, version| {
        let path = format!("/_matrix/client/{version}/user/{{user_id}}/openid/request_token");
        router.route(&path, post(request_openid_token))
    })
}

/// The body is "reserved for future expansion": whatever is in it, it says nothing.
async fn request_openid_token(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let [user_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    let (access_token, lifetime) = accounts.issue_openid_token(&session.user_id);
    let answer = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "matrix_server_name": accounts.server_name(),
        "expires_in": lifetime.as_secs(),
    });
    Ok(RawJson(answer.to_string().into()))
}
