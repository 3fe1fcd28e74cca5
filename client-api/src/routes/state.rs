//! `/_matrix/client/*/rooms/{roomId}/state` and below ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};
use delayed_events::{DelayedEvents, NewDelayedEvent};
use presence::Presence;
use rooms::{NewEvent, Rooms};
use ruma::{RoomId, api::client::state::get_state_events, events::AnyStateEvent, serde::Raw};
use serde_json::value::RawValue;

use super::{
    EndpointExt as _,
    delayed_event::{delay, schedule},
};
use crate::{
    acting::timestamp,
    error::Error,
    extract::{Authed, AuthedRaw, json},
    gate::Gate,
    invites::permit_state,
    limits::Action,
    render,
    respond::{Matrix, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Accounts: FromRef<S>,
    DelayedEvents: FromRef<S>,
    Gate: FromRef<S>,
    Presence: FromRef<S>,
    Rooms: FromRef<S>,
{
    let mut router =
        Router::new().endpoint::<get_state_events::v3::Request, _, _>(get_state_events);
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}/rooms/{{room_id}}/state/{{event_type}}");
        let methods = || put(send_state_event).get(get_state_event_for_key);
        // An empty state key may be left out, with or without its slash.
        router = router
            .route(&base, methods())
            .route(&format!("{base}/"), methods())
            .route(&format!("{base}/{{state_key}}"), methods());
    }
    router
}

/// Room id, event type and state key of the path.
fn target(path_args: &[String]) -> Result<(&RoomId, &str, &str), Error> {
    let (room_id, event_type, state_key) = match path_args {
        [room_id, event_type] => (room_id, event_type, ""),
        [room_id, event_type, state_key] => (room_id, event_type, state_key.as_str()),
        _ => return Err(Error::unrecognized()),
    };
    let room_id = <&RoomId>::try_from(room_id.as_str())
        .map_err(|_| Error::invalid_param(format!("{room_id:?} is not a room id")))?;
    Ok((room_id, event_type, state_key))
}

async fn send_state_event(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    State(delayed): State<DelayedEvents>,
    State(presence): State<Presence>,
    AuthedRaw { session, parts, path_args, body }: AuthedRaw,
) -> Result<RawJson, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Message, &session)?;
    let (room_id, event_type, state_key) = target(&path_args)?;
    let content: Box<RawValue> = json(&body)?;
    if let Some(delay) = delay(parts.uri.query())? {
        let new = NewDelayedEvent {
            room_id,
            sender: &session.user_id,
            event_type,
            state_key: Some(state_key),
            content: &content,
            delay,
            txn: None,
            timestamp: timestamp(&session, parts.uri.query())?,
        };
        return schedule(&delayed, new).await;
    }
    permit_state(&accounts, &session.user_id, event_type, state_key, &content).await?;
    let event_id = rooms
        .send(NewEvent {
            room_id,
            sender: &session.user_id,
            event_type,
            state_key: Some(state_key),
            content: &content,
            txn: None,
            timestamp: timestamp(&session, parts.uri.query())?,
        })
        .await?;
    presence.event_sent(&session.user_id, &session.device_id);
    let response = serde_json::json!({ "event_id": event_id });
    Ok(RawJson(response.to_string().into()))
}

async fn get_state_event_for_key(
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let (room_id, event_type, state_key) = target(&path_args)?;
    let event = rooms.state_event(&session.user_id, room_id, event_type, state_key).await?;
    let wants_event =
        parts.uri.query().unwrap_or_default().split('&').any(|pair| pair == "format=event");
    if !wants_event {
        return Ok(RawJson(event.pdu.content().get().to_owned().into()));
    }
    let rendered: Vec<Raw<AnyStateEvent>> =
        render::state_events(&rooms, &session, room_id, &[event]).await?;
    let event = rendered.into_iter().next().ok_or_else(|| Error::not_found("Event not found"))?;
    Ok(RawJson(event.json().get().to_owned().into()))
}

async fn get_state_events(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_state_events::v3::Request>,
) -> Result<Matrix<get_state_events::v3::Response>, Error> {
    let state = rooms.state(&session.user_id, &req.room_id).await?;
    let room_state = render::state_events(&rooms, &session, &req.room_id, &state).await?;
    Ok(Matrix(get_state_events::v3::Response { room_state }))
}
