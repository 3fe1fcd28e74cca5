//! `/_matrix/client/*/thirdparty/protocols` ([spec])
//!
//! Bridges offer protocols as application services; there are none yet, so the list is empty.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#third-party-lookups

use axum::{Router, extract::FromRef};
use ruma::api::client::thirdparty::{get_protocol, get_protocols};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::Empty};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    Router::new()
        .endpoint::<get_protocols::v3::Request, _, _>(get_protocols)
        .endpoint::<get_protocol::v3::Request, _, _>(get_protocol)
}

async fn get_protocols(Authed { .. }: Authed<get_protocols::v3::Request>) -> Empty {
    Empty
}

async fn get_protocol(Authed { req, .. }: Authed<get_protocol::v3::Request>) -> Error {
    Error::not_found(format!("No bridge offers the protocol {:?}", req.protocol))
}
