//! `PUT /_matrix/client/*/rooms/{roomId}/typing/{userId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::Rooms;
use ruma::api::client::typing::create_typing_event;

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<create_typing_event::v3::Request, _, _>(create_typing_event)
}

async fn create_typing_event(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<create_typing_event::v3::Request>,
) -> Result<Matrix<create_typing_event::v3::Response>, Error> {
    if session.user_id != req.user_id {
        return Err(Error::forbidden("You may only set your own typing state"));
    }
    match req.state {
        create_typing_event::v3::Typing::Yes(info) => {
            rooms.start_typing(&req.room_id, &session.user_id, info.timeout).await?;
        }
        create_typing_event::v3::Typing::No => {
            rooms.stop_typing(&req.room_id, &session.user_id).await?;
        }
    }
    Ok(Matrix(create_typing_event::v3::Response::new()))
}
