//! `/_matrix/client/*/publicRooms` and `/directory/list/room/{roomId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#published-room-directory

use accounts::Session;
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse as _, Response},
    routing::put,
};
use rooms::{Network, PublicRoom, PublicRoomsPage, PublicRoomsQuery, Rooms};
use ruma::{
    OwnedRoomId, ServerName, UInt,
    api::client::{
        directory::{
            get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
        },
        room::Visibility,
    },
    directory::{PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
};

use serde_json::{Value, value::to_raw_value};

use super::{EndpointExt as _, config::room};
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, Open, json},
    gate::Gate,
    respond::{Empty, Matrix, RawJson},
};

/// Rooms of one page, when the client names no limit and at most.
const PAGE_ROOMS: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_public_rooms::v3::Request, _, _>(get_public_rooms)
        .endpoint::<get_public_rooms_filtered::v3::Request, _, _>(get_public_rooms_filtered)
        .endpoint::<get_room_visibility::v3::Request, _, _>(get_room_visibility)
        .endpoint::<set_room_visibility::v3::Request, _, _>(set_room_visibility)
        .route(
            "/_matrix/client/v3/directory/list/appservice/{network_id}/{room_id}",
            put(publish_in_network).delete(withdraw_from_network),
        )
}

/// The room, and the directory of a network that the application service bridges: its id as clients
/// know it from `/thirdparty/protocols`.
fn entry(session: &Session, path_args: &[String]) -> Result<(OwnedRoomId, String), Error> {
    let service = session.appservice.as_ref();
    let service = service.ok_or_else(|| {
        Error::forbidden("Only application services have published room directories of their own")
    })?;
    let [network_id, room_id] = path_args else { return Err(Error::unrecognized()) };
    Ok((room(room_id)?, format!("{}|{network_id}", service.id)))
}

async fn publish_in_network(
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(serde::Deserialize)]
    struct Body {
        visibility: Visibility,
    }
    let (room_id, instance_id) = entry(&session, &path_args)?;
    let published = match json::<Body>(&body)?.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => return Err(Error::invalid_param(format!("unknown visibility {other}"))),
    };
    rooms.set_published_in(&instance_id, &room_id, published).await?;
    Ok(Empty)
}

async fn withdraw_from_network(
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let (room_id, instance_id) = entry(&session, &path_args)?;
    rooms.set_published_in(&instance_id, &room_id, false).await?;
    Ok(Empty)
}

fn page_limit(limit: Option<UInt>) -> usize {
    limit
        .map_or(PAGE_ROOMS, |limit| usize::try_from(limit).unwrap_or(PAGE_ROOMS))
        .clamp(1, PAGE_ROOMS)
}

/// Asks another server for its list, if the request names one.
async fn remote(
    rooms: &Rooms,
    server: Option<&ServerName>,
    request: &Value,
) -> Result<Option<Response>, Error> {
    let Some(server) = server.filter(|server| *server != rooms.server_name()) else {
        return Ok(None);
    };
    let request = to_raw_value(request).map_err(|error| Error::internal(&error))?;
    let list = rooms.remote_public_rooms(server, request).await?;
    Ok(Some(RawJson(list.get().to_owned().into()).into_response()))
}

async fn get_public_rooms(
    State(rooms): State<Rooms>,
    Open { req }: Open<get_public_rooms::v3::Request>,
) -> Result<Response, Error> {
    let request = serde_json::json!({ "limit": page_limit(req.limit), "since": req.since });
    if let Some(list) = remote(&rooms, req.server.as_deref(), &request).await? {
        return Ok(list);
    }
    let query = PublicRoomsQuery {
        limit: page_limit(req.limit),
        since: req.since.as_deref(),
        ..PublicRoomsQuery::default()
    };
    let PublicRoomsPage { chunk, next_batch, prev_batch, total } =
        rooms.public_rooms(query).await?;
    Ok(Matrix(get_public_rooms::v3::Response {
        chunk: chunk.into_iter().map(self::chunk).collect::<Result<_, _>>()?,
        next_batch,
        prev_batch,
        total_room_count_estimate: UInt::try_from(total).ok(),
    })
    .into_response())
}

async fn get_public_rooms_filtered(
    State(rooms): State<Rooms>,
    Authed { req, .. }: Authed<get_public_rooms_filtered::v3::Request>,
) -> Result<Response, Error> {
    let request = serde_json::json!({
        "limit": page_limit(req.limit),
        "since": req.since,
        "filter": req.filter,
    });
    if let Some(list) = remote(&rooms, req.server.as_deref(), &request).await? {
        return Ok(list);
    }
    let types: Option<Vec<Option<String>>> = (!req.filter.room_types.is_empty())
        .then(|| req.filter.room_types.iter().map(room_type).collect());
    let query = PublicRoomsQuery {
        search: req.filter.generic_search_term.as_deref(),
        room_types: types.as_deref(),
        limit: page_limit(req.limit),
        since: req.since.as_deref(),
        network: match &req.room_network {
            RoomNetwork::All => Network::All,
            RoomNetwork::ThirdParty(instance) => Network::One(instance),
            _ => Network::Own,
        },
    };
    let PublicRoomsPage { chunk, next_batch, prev_batch, total } =
        rooms.public_rooms(query).await?;
    Ok(Matrix(get_public_rooms_filtered::v3::Response {
        chunk: chunk.into_iter().map(self::chunk).collect::<Result<_, _>>()?,
        next_batch,
        prev_batch,
        total_room_count_estimate: UInt::try_from(total).ok(),
    })
    .into_response())
}

fn room_type(filter: &RoomTypeFilter) -> Option<String> {
    match filter {
        RoomTypeFilter::Default => None,
        other => other.as_str().map(str::to_owned),
    }
}

/// What a directory says of a room, in the specification's form.
pub(super) fn chunk(room: PublicRoom) -> Result<PublicRoomsChunk, Error> {
    let avatar_url = room.avatar_url.map(Into::into);
    Ok(PublicRoomsChunk {
        canonical_alias: room.canonical_alias,
        name: room.name,
        num_joined_members: UInt::try_from(room.num_joined_members).unwrap_or(UInt::MAX),
        room_id: room.room_id,
        topic: room.topic,
        world_readable: room.world_readable,
        guest_can_join: room.guest_can_join,
        avatar_url,
        join_rule: room.join_rule.into(),
        room_type: room.room_type.map(Into::into),
    })
}

async fn get_room_visibility(
    State(rooms): State<Rooms>,
    Open { req }: Open<get_room_visibility::v3::Request>,
) -> Result<Matrix<get_room_visibility::v3::Response>, Error> {
    let published = rooms.is_published(&req.room_id).await?;
    let visibility = if published { Visibility::Public } else { Visibility::Private };
    Ok(Matrix(get_room_visibility::v3::Response { visibility }))
}

async fn set_room_visibility(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<set_room_visibility::v3::Request>,
) -> Result<Matrix<set_room_visibility::v3::Response>, Error> {
    let published = match req.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => return Err(Error::invalid_param(format!("unknown visibility {other}"))),
    };
    rooms.set_published(&session.user_id, &req.room_id, published).await?;
    Ok(Matrix(set_room_visibility::v3::Response::new()))
}
