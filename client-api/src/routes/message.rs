//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}` and `GET /rooms/{roomId}/messages` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room

use axum::{
    Router,
    extract::{FromRef, State},
};
use presence::Presence;
use rooms::{MessagesQuery, NewEvent, Rooms, Txn};
use ruma::api::client::message::{get_message_events, send_message_event};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, limits::Action, render, respond::Matrix};

/// Events of one page at most.
pub(super) const PAGE_EVENTS_MAX: usize = 1000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Presence: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_message_events::v3::Request, _, _>(get_message_events)
        .endpoint::<send_message_event::v3::Request, _, _>(send_message_event)
}

async fn send_message_event(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(presence): State<Presence>,
    Authed { session, req }: Authed<send_message_event::v3::Request>,
) -> Result<Matrix<send_message_event::v3::Response>, Error> {
    gate.limit_user(Action::Message, &session)?;
    let event_id = rooms
        .send(NewEvent {
            room_id: &req.room_id,
            sender: &session.user_id,
            event_type: &req.event_type.to_string(),
            state_key: None,
            content: req.body.json(),
            txn: Some(Txn { device_id: &session.device_id, txn_id: &req.txn_id }),
            // Only application services may choose a timestamp.
            timestamp: None,
        })
        .await?;
    presence.event_sent(&session.user_id, &session.device_id);
    Ok(Matrix(send_message_event::v3::Response { event_id }))
}

async fn get_message_events(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_message_events::v3::Request>,
) -> Result<Matrix<get_message_events::v3::Response>, Error> {
    let limit = usize::try_from(req.limit).unwrap_or(PAGE_EVENTS_MAX).min(PAGE_EVENTS_MAX);
    let query = MessagesQuery {
        from: req.from.as_deref(),
        to: req.to.as_deref(),
        dir: req.dir,
        limit,
        filter: &req.filter,
    };
    let page = rooms.messages(&session.user_id, &req.room_id, query).await?;
    Ok(Matrix(get_message_events::v3::Response {
        start: page.start,
        end: page.end,
        chunk: render::events(&rooms, &session, &req.room_id, &page.chunk).await?,
        state: render::state_events(&rooms, &session, &req.room_id, &page.state).await?,
    }))
}
