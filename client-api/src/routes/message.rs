//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}` and `GET /rooms/{roomId}/messages` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room

use axum::{
    Router,
    extract::{FromRef, RawQuery, State},
    routing::post,
};
use delayed_events::{DelayedEvents, NewDelayedEvent};
use presence::Presence;
use rooms::{MessagesQuery, NewEvent, RelTypes, Rooms, Txn};
use ruma::{
    MilliSecondsSinceUnixEpoch, TransactionId,
    api::client::message::{get_message_events, send_message_event},
};
use serde::Deserialize;
use serde_json::{json as to_json, value::RawValue};

use super::{
    EndpointExt as _,
    config::room,
    delayed_event::{delay, schedule},
};
use crate::{
    acting::timestamp,
    error::Error,
    extract::{Authed, AuthedRaw, json},
    gate::Gate,
    limits::Action,
    render,
    respond::{Matrix, RawJson},
};

/// A transaction id is part of a key; over a socket it is the id of a request, of the same length.
const TXN_ID_BYTES_MAX: usize = 255;
/// Events of one page at most.
pub(super) const PAGE_EVENTS_MAX: usize = 1000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    DelayedEvents: FromRef<S>,
    Gate: FromRef<S>,
    Presence: FromRef<S>,
    Rooms: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/send/{{event_type}}");
        router = router.route(&path, post(send_without_txn));
    }
    router
        .endpoint::<get_message_events::v3::Request, _, _>(get_message_events)
        .endpoint::<send_message_event::v3::Request, _, _>(send_message_event)
}

pub(super) fn check_txn_id(txn_id: &TransactionId) -> Result<(), Error> {
    if txn_id.as_str().len() <= TXN_ID_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid_param(format!("A transaction id has at most {TXN_ID_BYTES_MAX} bytes")))
}

fn millis(time: MilliSecondsSinceUnixEpoch) -> u64 {
    time.get().into()
}

async fn send_message_event(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(delayed): State<DelayedEvents>,
    State(presence): State<Presence>,
    RawQuery(raw_query): RawQuery,
    Authed { session, req }: Authed<send_message_event::v3::Request>,
) -> Result<RawJson, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Message, &session)?;
    check_txn_id(&req.txn_id)?;
    let timestamp = req.timestamp.filter(|_| session.appservice.is_some()).map(millis);
    if let Some(delay) = delay(raw_query.as_deref())? {
        let new = NewDelayedEvent {
            room_id: &req.room_id,
            sender: &session.user_id,
            event_type: &req.event_type.to_string(),
            state_key: None,
            content: req.body.json(),
            delay,
            txn: Some((&session.device_id, &req.txn_id)),
            timestamp,
        };
        return schedule(&delayed, new).await;
    }
    let event_id = rooms
        .send(NewEvent {
            room_id: &req.room_id,
            sender: &session.user_id,
            event_type: &req.event_type.to_string(),
            state_key: None,
            content: req.body.json(),
            txn: Some(Txn { device_id: &session.device_id, txn_id: &req.txn_id }),
            timestamp,
        })
        .await?;
    presence.event_sent(&session.user_id, &session.device_id);
    Ok(RawJson(to_json!({ "event_id": event_id }).to_string().into()))
}

/// `POST …/send/{eventType}`: not in the specification any more, but what old scripts use. There
/// is no transaction id, so a repeated request is a second event.
async fn send_without_txn(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, parts, path_args, body }: AuthedRaw,
) -> Result<Matrix<send_message_event::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Message, &session)?;
    let [room_id, event_type] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let content: Box<RawValue> = json(&body)?;
    let event_id = rooms
        .send(NewEvent {
            room_id: &room(room_id)?,
            sender: &session.user_id,
            event_type,
            state_key: None,
            content: &content,
            txn: None,
            timestamp: timestamp(&session, parts.uri.query())?,
        })
        .await?;
    Ok(Matrix(send_message_event::v3::Response { event_id }))
}

/// The part of the `filter` that ruma does not know, under its name of before it is stable as well.
fn rel_types(query: Option<&str>) -> Result<RelTypes, Error> {
    #[derive(Deserialize)]
    struct Query {
        filter: Option<String>,
    }
    #[derive(Deserialize)]
    struct Filter {
        #[serde(alias = "org.matrix.msc3874.rel_types")]
        rel_types: Option<Vec<String>>,
        #[serde(default, alias = "org.matrix.msc3874.not_rel_types")]
        not_rel_types: Vec<String>,
    }
    let query: Query = serde_html_form::from_str(query.unwrap_or_default())
        .map_err(|_| Error::invalid_param("The query is not valid"))?;
    let Some(filter) = query.filter else { return Ok(RelTypes::default()) };
    let Filter { rel_types, not_rel_types } = serde_json::from_str(&filter)
        .map_err(|_| Error::invalid_param("The filter is not valid"))?;
    Ok(RelTypes { only: rel_types, not: not_rel_types })
}

async fn get_message_events(
    State(rooms): State<Rooms>,
    RawQuery(raw_query): RawQuery,
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
    let relations = rel_types(raw_query.as_deref())?;
    let page = rooms.messages_related(&session.user_id, &req.room_id, query, &relations).await?;
    Ok(Matrix(get_message_events::v3::Response {
        start: page.start,
        end: page.end,
        chunk: render::events(&rooms, &session, &req.room_id, &page.chunk).await?,
        state: render::state_events(&rooms, &session, &req.room_id, &page.state).await?,
    }))
}
