//! `GET /_matrix/client/*/voip/turnServer` ([spec])
//!
//! No TURN server can be configured yet, and the answer of a server without one is an empty object.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver

use axum::{Router, extract::FromRef};
use ruma::api::client::voip::get_turn_server_info;

use super::EndpointExt as _;
use crate::{extract::Authed, gate::Gate, respond::Empty};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    Router::new().endpoint::<get_turn_server_info::v3::Request, _, _>(get_turn_server_info)
}

async fn get_turn_server_info(Authed { .. }: Authed<get_turn_server_info::v3::Request>) -> Empty {
    Empty
}
