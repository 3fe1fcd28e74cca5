//! `/_matrix/client/*/thirdparty/*` ([spec])
//!
//! Bridges offer protocols as application services; there are none yet, so the list is empty.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#third-party-lookups

use axum::{Router, extract::FromRef};
use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol, get_protocols,
    get_user_for_protocol, get_user_for_user_id,
};

use super::EndpointExt as _;
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw},
    gate::Gate,
    respond::Empty,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    Router::new()
        .endpoint::<get_location_for_protocol::v3::Request, _, _>(find_nothing)
        .endpoint::<get_location_for_room_alias::v3::Request, _, _>(find_nothing)
        .endpoint::<get_user_for_protocol::v3::Request, _, _>(find_nothing)
        .endpoint::<get_user_for_user_id::v3::Request, _, _>(find_nothing)
        .endpoint::<get_protocols::v3::Request, _, _>(get_protocols)
        .endpoint::<get_protocol::v3::Request, _, _>(get_protocol)
}

async fn get_protocols(Authed { .. }: Authed<get_protocols::v3::Request>) -> Empty {
    Empty
}

async fn get_protocol(Authed { req, .. }: Authed<get_protocol::v3::Request>) -> Error {
    Error::not_found(format!("No bridge offers the protocol {:?}", req.protocol))
}

/// Rooms and users of bridged networks.
async fn find_nothing(AuthedRaw { .. }: AuthedRaw) -> Error {
    Error::not_found("No bridge knows of it")
}
