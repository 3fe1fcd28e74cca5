//! `/_matrix/client/*/directory/room/{roomAlias}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#room-aliases

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::Rooms;
use ruma::api::client::alias::{create_alias, delete_alias, get_alias};

use super::EndpointExt as _;
use crate::{
    error::Error,
    extract::{Authed, Open},
    gate::Gate,
    respond::Matrix,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<create_alias::v3::Request, _, _>(create_alias)
        .endpoint::<delete_alias::v3::Request, _, _>(delete_alias)
        .endpoint::<get_alias::v3::Request, _, _>(get_alias)
}

async fn create_alias(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<create_alias::v3::Request>,
) -> Result<Matrix<create_alias::v3::Response>, Error> {
    let owns = gate.may_name_room(&req.room_alias, &session)?;
    let created = match owns {
        true => rooms.create_own_alias(&session.user_id, &req.room_alias, &req.room_id).await,
        false => rooms.create_alias(&session.user_id, &req.room_alias, &req.room_id).await,
    };
    created.map_err(|error| {
        match error {
            // "409: A room alias with that name already exists."
            rooms::Error::RoomInUse => Error::new(
                http::StatusCode::CONFLICT,
                "M_UNKNOWN",
                format!("Room alias {} already exists", req.room_alias),
            ),
            other => other.into(),
        }
    })?;
    Ok(Matrix(create_alias::v3::Response::new()))
}

async fn delete_alias(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<delete_alias::v3::Request>,
) -> Result<Matrix<delete_alias::v3::Response>, Error> {
    match gate.may_name_room(&req.room_alias, &session)? {
        true => rooms.delete_own_alias(&session.user_id, &req.room_alias).await?,
        false => rooms.delete_alias(&session.user_id, &req.room_alias).await?,
    }
    Ok(Matrix(delete_alias::v3::Response::new()))
}

async fn get_alias(
    State(rooms): State<Rooms>,
    Open { req }: Open<get_alias::v3::Request>,
) -> Result<Matrix<get_alias::v3::Response>, Error> {
    let (room_id, servers) = rooms
        .find_alias(&req.room_alias)
        .await?
        .ok_or_else(|| Error::not_found(format!("Room alias {} not found", req.room_alias)))?;
    Ok(Matrix(get_alias::v3::Response { room_id, servers }))
}
