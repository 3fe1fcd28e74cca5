//! `PUT /_matrix/client/*/rooms/{roomId}/redact/{eventId}/{txnId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#redactions

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{Redaction, Rooms, Txn};
use ruma::api::client::redact::redact_event;

use super::{EndpointExt as _, message::check_txn_id};
use crate::{error::Error, extract::Authed, gate::Gate, limits::Action, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<redact_event::v3::Request, _, _>(redact_event)
}

async fn redact_event(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<redact_event::v3::Request>,
) -> Result<Matrix<redact_event::v3::Response>, Error> {
    gate.limit_user(Action::Message, &session)?;
    check_txn_id(&req.txn_id)?;
    let event_id = rooms
        .redact(Redaction {
            room_id: &req.room_id,
            sender: &session.user_id,
            target: &req.event_id,
            reason: req.reason.as_deref(),
            txn: Some(Txn { device_id: &session.device_id, txn_id: &req.txn_id }),
        })
        .await?;
    Ok(Matrix(redact_event::v3::Response { event_id }))
}
