//! `GET /_matrix/client/*/rooms/{roomId}/context/{eventId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#event-context

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::Rooms;
use ruma::api::client::context::get_context;

use super::{EndpointExt as _, message::PAGE_EVENTS_MAX};
use crate::{error::Error, extract::Authed, gate::Gate, render, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<get_context::v3::Request, _, _>(get_context)
}

async fn get_context(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_context::v3::Request>,
) -> Result<Matrix<get_context::v3::Response>, Error> {
    let limit = usize::try_from(req.limit).unwrap_or(PAGE_EVENTS_MAX).min(PAGE_EVENTS_MAX);
    let (viewer, room_id) = (&session.user_id, &req.room_id);
    let context = rooms.context(viewer, room_id, &req.event_id, limit, &req.filter).await?;
    let event = render::events(&rooms, &session, room_id, &[context.event]).await?;
    Ok(Matrix(get_context::v3::Response {
        start: Some(context.start),
        end: Some(context.end),
        events_before: render::events(&rooms, &session, room_id, &context.before).await?,
        event: event.into_iter().next(),
        events_after: render::events(&rooms, &session, room_id, &context.after).await?,
        state: render::state_events(&rooms, &session, room_id, &context.state).await?,
    }))
}
