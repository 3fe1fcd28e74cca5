//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/…` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#relationships-api

use accounts::Session;
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{RelationsPage, RelationsQuery, Rooms};
use ruma::{
    EventId, RoomId, UInt,
    api::client::relations::{
        get_relating_events, get_relating_events_with_rel_type,
        get_relating_events_with_rel_type_and_event_type,
    },
    events::AnyMessageLikeEvent,
    serde::Raw,
};

use super::{EndpointExt as _, message::PAGE_EVENTS_MAX};
use crate::{error::Error, extract::Authed, gate::Gate, render, respond::Matrix};

/// Events of a page when the client names no limit. The same as Synapse's.
const PAGE_EVENTS: usize = 5;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_relating_events::v1::Request, _, _>(get_relating_events)
        .endpoint::<get_relating_events_with_rel_type::v1::Request, _, _>(
            get_relating_events_with_rel_type,
        )
        .endpoint::<get_relating_events_with_rel_type_and_event_type::v1::Request, _, _>(
            get_relating_events_with_rel_type_and_event_type,
        )
}

fn page_limit(limit: Option<UInt>) -> usize {
    limit
        .map_or(PAGE_EVENTS, |limit| usize::try_from(limit).unwrap_or(PAGE_EVENTS_MAX))
        .clamp(1, PAGE_EVENTS_MAX)
}

struct Rendered {
    chunk: Vec<Raw<AnyMessageLikeEvent>>,
    next_batch: Option<String>,
    prev_batch: Option<String>,
    recursion_depth: Option<UInt>,
}

async fn relations(
    rooms: &Rooms,
    session: &Session,
    room_id: &RoomId,
    event_id: &EventId,
    query: RelationsQuery<'_>,
) -> Result<Rendered, Error> {
    let RelationsPage { chunk, next_batch, prev_batch, recursion_depth } =
        rooms.relations(&session.user_id, room_id, event_id, query).await?;
    Ok(Rendered {
        chunk: render::events(rooms, session, room_id, &chunk).await?,
        next_batch,
        prev_batch,
        recursion_depth: recursion_depth.map(UInt::from),
    })
}

async fn get_relating_events(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_relating_events::v1::Request>,
) -> Result<Matrix<get_relating_events::v1::Response>, Error> {
    let query = RelationsQuery {
        rel_type: None,
        event_type: None,
        from: req.from.as_deref(),
        to: req.to.as_deref(),
        dir: req.dir,
        limit: page_limit(req.limit),
        recurse: req.recurse,
    };
    let Rendered { chunk, next_batch, prev_batch, recursion_depth } =
        relations(&rooms, &session, &req.room_id, &req.event_id, query).await?;
    Ok(Matrix(get_relating_events::v1::Response { chunk, next_batch, prev_batch, recursion_depth }))
}

async fn get_relating_events_with_rel_type(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_relating_events_with_rel_type::v1::Request>,
) -> Result<Matrix<get_relating_events_with_rel_type::v1::Response>, Error> {
    let query = RelationsQuery {
        rel_type: Some(req.rel_type.as_ref()),
        event_type: None,
        from: req.from.as_deref(),
        to: req.to.as_deref(),
        dir: req.dir,
        limit: page_limit(req.limit),
        recurse: req.recurse,
    };
    let Rendered { chunk, next_batch, prev_batch, recursion_depth } =
        relations(&rooms, &session, &req.room_id, &req.event_id, query).await?;
    Ok(Matrix(get_relating_events_with_rel_type::v1::Response {
        chunk,
        next_batch,
        prev_batch,
        recursion_depth,
    }))
}

async fn get_relating_events_with_rel_type_and_event_type(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_relating_events_with_rel_type_and_event_type::v1::Request>,
) -> Result<Matrix<get_relating_events_with_rel_type_and_event_type::v1::Response>, Error> {
    let query = RelationsQuery {
        rel_type: Some(req.rel_type.as_ref()),
        event_type: Some(&req.event_type.to_string()),
        from: req.from.as_deref(),
        to: req.to.as_deref(),
        dir: req.dir,
        limit: page_limit(req.limit),
        recurse: req.recurse,
    };
    let Rendered { chunk, next_batch, prev_batch, recursion_depth } =
        relations(&rooms, &session, &req.room_id, &req.event_id, query).await?;
    Ok(Matrix(get_relating_events_with_rel_type_and_event_type::v1::Response {
        chunk,
        next_batch,
        prev_batch,
        recursion_depth,
    }))
}
