//! `GET /query/profile`, `/query/directory`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use ruma::{OwnedRoomAliasId, OwnedUserId};
use serde::Deserialize;
use serde_json::json;

use super::{RawJson, json};
use crate::{error::Error, extract::Signed, inbound::Inbound};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/query/profile", get(get_profile_information))
        .route("/_matrix/federation/v1/query/directory", get(get_room_information))
}

async fn get_profile_information(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        user_id: OwnedUserId,
        field: Option<String>,
    }
    let Query { user_id, field } = request.query()?;
    if user_id.server_name() != inbound.server_name() {
        return Err(Error::invalid_param("The user is not one of this server"));
    }
    let fields = inbound.inner.accounts.profile_fields(&user_id).await;
    let fields = fields.map_err(|error| Error::internal(&error))?;
    let mut fields = fields.ok_or_else(|| Error::not_found(format!("There is no {user_id}")))?;
    if let Some(field) = field {
        fields.retain(|name, _| *name == field);
    }
    json(&fields)
}

async fn get_room_information(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        room_alias: OwnedRoomAliasId,
    }
    let Query { room_alias } = request.query()?;
    if room_alias.server_name() != inbound.server_name() {
        return Err(Error::invalid_param("The alias is not one of this server"));
    }
    let found = inbound.inner.rooms.find_alias(&room_alias).await?;
    let (room_id, servers) =
        found.ok_or_else(|| Error::not_found(format!("There is no {room_alias}")))?;
    json(&json!({ "room_id": room_id, "servers": servers }))
}
