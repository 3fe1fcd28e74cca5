//! `POST /_matrix/client/*/rooms/{roomId}/read_markers` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers

use accounts::{Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{NewReceipt, Rooms};
use ruma::{EventId, RoomId, api::client::read_marker::set_read_marker};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<set_read_marker::v3::Request, _, _>(set_read_marker)
}

/// Moves the fully-read marker, which is account data of the room.
pub(crate) async fn set_fully_read(
    rooms: &Rooms,
    accounts: &Accounts,
    session: &Session,
    room_id: &RoomId,
    event_id: &EventId,
) -> Result<(), Error> {
    // Only an event that the user may see can be marked.
    rooms.event(&session.user_id, room_id, event_id).await?;
    accounts.set_fully_read(&session.user_id, room_id, event_id).await?;
    Ok(())
}

async fn set_read_marker(
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<set_read_marker::v3::Request>,
) -> Result<Matrix<set_read_marker::v3::Response>, Error> {
    if let Some(event_id) = &req.fully_read {
        set_fully_read(&rooms, &accounts, &session, &req.room_id, event_id).await?;
    }
    let receipts = [("m.read", &req.read_receipt), ("m.read.private", &req.private_read_receipt)];
    for (kind, event_id) in receipts {
        let Some(event_id) = event_id else { continue };
        let receipt = NewReceipt {
            room_id: &req.room_id,
            user: &session.user_id,
            kind,
            event_id,
            thread: None,
        };
        rooms.set_receipt(receipt).await?;
    }
    Ok(Matrix(set_read_marker::v3::Response::new()))
}
