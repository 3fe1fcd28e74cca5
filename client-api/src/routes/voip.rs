//! `GET /_matrix/client/*/voip/turnServer` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
};
use ruma::api::client::voip::get_turn_server_info;
use serde_json::json;

use super::EndpointExt as _;
use crate::{extract::Authed, gate::Gate, respond::RawJson};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    Router::new().endpoint::<get_turn_server_info::v3::Request, _, _>(get_turn_server_info)
}

/// A region without TURN servers says so by an empty object, as clients know it from Synapse.
async fn get_turn_server_info(
    State(accounts): State<Accounts>,
    Authed { session, .. }: Authed<get_turn_server_info::v3::Request>,
) -> RawJson {
    let body = match accounts.turn_credentials(&session.user_id) {
        Some(credentials) => json!({
            "username": credentials.username,
            "password": credentials.password,
            "uris": credentials.uris,
            "ttl": credentials.lifetime.as_secs(),
        }),
        None => json!({}),
    };
    RawJson(body.to_string().into())
}
