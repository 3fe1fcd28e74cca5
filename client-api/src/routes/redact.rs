//! `PUT /_matrix/client/*/rooms/{roomId}/redact/{eventId}/{txnId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#redactions

use accounts::Session;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use rooms::{Redaction, Rooms, Txn};
use ruma::{EventId, RoomId, api::client::redact::redact_event};
use serde_json::json;

use super::{EndpointExt as _, message::check_txn_id};
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, json_or_default},
    gate::Gate,
    limits::Action,
    respond::{Matrix, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = Router::new().endpoint::<redact_event::v3::Request, _, _>(redact_event);
    ["r0", "v3"].into_iter().fold(router, |router, version| {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/redact/{{event_id}}");
        router.route(&path, post(redact_without_transaction))
    })
}

/// Who is suspended may take back what they said themselves.
pub(super) async fn may_redact(
    gate: &Gate,
    rooms: &Rooms,
    session: &Session,
    room_id: &RoomId,
    target: &EventId,
) -> Result<(), Error> {
    let Err(suspended) = gate.may_act(session) else { return Ok(()) };
    let event = rooms.event(&session.user_id, room_id, target).await?;
    if *event.pdu.sender() == session.user_id { Ok(()) } else { Err(suspended) }
}

/// As clients of old did: not specified, but every deployed server takes it.
async fn redact_without_transaction(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Default, serde::Deserialize)]
    struct Body {
        reason: Option<String>,
    }
    gate.limit_user(Action::Message, &session)?;
    let [room_id, event_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let room_id = RoomId::parse(room_id).map_err(|_| Error::invalid_param("not a room id"))?;
    let target = EventId::parse(event_id).map_err(|_| Error::invalid_param("not an event id"))?;
    let Body { reason } = json_or_default(&body)?;
    may_redact(&gate, &rooms, &session, &room_id, &target).await?;
    let redaction = Redaction {
        room_id: &room_id,
        sender: &session.user_id,
        target: &target,
        reason: reason.as_deref(),
        txn: None,
    };
    let event_id = rooms.redact(redaction).await?;
    Ok(RawJson(json!({ "event_id": event_id }).to_string().into()))
}

async fn redact_event(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<redact_event::v3::Request>,
) -> Result<Matrix<redact_event::v3::Response>, Error> {
    gate.limit_user(Action::Message, &session)?;
    check_txn_id(&req.txn_id)?;
    may_redact(&gate, &rooms, &session, &req.room_id, &req.event_id).await?;
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
