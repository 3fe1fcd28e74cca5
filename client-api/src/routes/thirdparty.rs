//! `/_matrix/client/*/thirdparty/*` ([spec]): what bridges say of the networks behind them.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#third-party-lookups

use appservice::ThirdParty;
use axum::{
    Router,
    extract::{FromRef, State},
};
use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol, get_protocols,
    get_user_for_protocol, get_user_for_user_id,
};
use serde_json::Value;

use super::EndpointExt as _;
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw},
    gate::Gate,
    respond::RawJson,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    Router::new()
        .endpoint::<get_location_for_protocol::v3::Request, _, _>(find_locations)
        .endpoint::<get_location_for_room_alias::v3::Request, _, _>(find_locations)
        .endpoint::<get_user_for_protocol::v3::Request, _, _>(find_users)
        .endpoint::<get_user_for_user_id::v3::Request, _, _>(find_users)
        .endpoint::<get_protocols::v3::Request, _, _>(get_protocols)
        .endpoint::<get_protocol::v3::Request, _, _>(get_protocol)
}

async fn get_protocols(
    State(gate): State<Gate>,
    Authed { .. }: Authed<get_protocols::v3::Request>,
) -> RawJson {
    let protocols = gate.appservices().protocols().await;
    RawJson(Value::Object(protocols).to_string().into())
}

async fn get_protocol(
    State(gate): State<Gate>,
    Authed { req, .. }: Authed<get_protocol::v3::Request>,
) -> Result<RawJson, Error> {
    let protocol = gate.appservices().protocol(&req.protocol).await;
    let none = || Error::not_found(format!("No bridge offers the protocol {:?}", req.protocol));
    Ok(RawJson(protocol.ok_or_else(none)?.to_string().into()))
}

async fn find_users(State(gate): State<Gate>, request: AuthedRaw) -> Result<RawJson, Error> {
    find(&gate, ThirdParty::User, &request).await
}

async fn find_locations(State(gate): State<Gate>, request: AuthedRaw) -> Result<RawJson, Error> {
    find(&gate, ThirdParty::Location, &request).await
}

async fn find(gate: &Gate, what: ThirdParty, request: &AuthedRaw) -> Result<RawJson, Error> {
    let query = request.parts.uri.query().unwrap_or_default();
    let mut fields: Vec<(String, String)> = serde_html_form::from_str(query)
        .map_err(|_| Error::invalid_param("The query is not valid"))?;
    // What tells us who asks is nobody else's to know.
    fields.retain(|(key, _)| !matches!(key.as_str(), "access_token" | "user_id" | "device_id"));
    let protocol = request.path_args.first().map(String::as_str);
    let found = gate.appservices().third_parties(what, protocol, &fields).await;
    if found.is_empty() {
        return Err(Error::not_found("No bridge knows of it"));
    }
    Ok(RawJson(Value::Array(found).to_string().into()))
}
