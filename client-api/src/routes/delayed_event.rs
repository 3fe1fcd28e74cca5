//! MSC4140: `/rooms/{roomId}/delayed_event/…`, `/delayed_events`, and `/send` and `/state` with a delay,
//! which is how the proposal had it before, and how clients in the field use it.

use std::time::Duration;

use accounts::Session;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post, put},
};
use delayed_events::{
    Action as Change, DelayedEvent, DelayedEvents, Error as DelayedError, Failure, NewDelayedEvent,
    Outcome,
};
use http::StatusCode;
use ruma::TransactionId;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{config::room, message::check_txn_id};
use crate::{
    acting::timestamp,
    error::Error,
    extract::{AuthedRaw, json as parse},
    gate::Gate,
    limits::Action,
    respond::{Empty, RawJson},
};

const BASE: &str = "/_matrix/client/unstable/org.matrix.msc4140";

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    DelayedEvents: FromRef<S>,
    Gate: FromRef<S>,
{
    Router::new()
        .route(
            &format!("{BASE}/rooms/{{room_id}}/delayed_event/{{event_type}}/{{txn_id}}"),
            put(schedule_delayed_event),
        )
        .route(&format!("{BASE}/delayed_events"), get(get_delayed_events))
        .route(
            &format!("{BASE}/delayed_events/{{delay_id}}"),
            get(get_delayed_event).post(update_delayed_event_by_body),
        )
        .route(
            &format!("{BASE}/delayed_events/{{delay_id}}/{{action}}"),
            post(update_delayed_event),
        )
}

/// The delay that the query of `/send` or `/state` asks for.
pub(super) fn delay(query: Option<&str>) -> Result<Option<Duration>, Error> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(rename = "org.matrix.msc4140.delay")]
        delay: Option<u64>,
    }
    let query = query.unwrap_or_default();
    // Most requests have none.
    if !query.contains("org.matrix.msc4140.delay") {
        return Ok(None);
    }
    let Query { delay } = serde_html_form::from_str(query)
        .map_err(|_| Error::invalid_param("The delay is a number of milliseconds"))?;
    Ok(delay.map(Duration::from_millis))
}

pub(super) async fn schedule(
    delayed: &DelayedEvents,
    new: NewDelayedEvent<'_>,
) -> Result<RawJson, Error> {
    let delay_id = delayed.schedule(new).await?;
    Ok(RawJson(json!({ "delay_id": delay_id }).to_string().into()))
}

async fn schedule_delayed_event(
    State(gate): State<Gate>,
    State(delayed): State<DelayedEvents>,
    AuthedRaw { session, parts, path_args, body }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        delay_ms: u64,
        state_key: Option<String>,
        content: Box<RawValue>,
    }
    gate.may_act(&session)?;
    gate.limit_user(Action::Message, &session)?;
    let [room_id, event_type, txn_id] = path_args.as_slice() else {
        return Err(Error::unrecognized());
    };
    let txn_id: &TransactionId = txn_id.as_str().into();
    check_txn_id(txn_id)?;
    let Body { delay_ms, state_key, content } = parse(&body)?;
    let new = NewDelayedEvent {
        room_id: &room(room_id)?,
        sender: &session.user_id,
        event_type,
        state_key: state_key.as_deref(),
        content: &content,
        delay: Duration::from_millis(delay_ms),
        txn: Some((&session.device_id, txn_id)),
        timestamp: timestamp(&session, parts.uri.query())?,
    };
    schedule(&delayed, new).await
}

async fn get_delayed_events(
    State(delayed): State<DelayedEvents>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let list = delayed.list(&session.user_id).await?;
    let list = list.into_iter().map(render).collect::<Result<Vec<_>, _>>()?;
    Ok(RawJson(json!({ "delayed_events": list }).to_string().into()))
}

async fn get_delayed_event(
    State(delayed): State<DelayedEvents>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let [delay_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let found = delayed.get(&session.user_id, delay_id).await?.ok_or(DelayedError::NotFound)?;
    Ok(RawJson(render(found)?.to_string().into()))
}

/// With the names of the proposal as it is, and those that it had when today's clients were written.
fn render(event: DelayedEvent) -> Result<Value, Error> {
    let content: Value =
        serde_json::from_str(&event.content).map_err(|error| Error::internal(&error))?;
    let mut json = json!({
        "delay_id": event.delay_id,
        "room_id": event.room_id,
        "type": event.event_type,
        "delay_ms": event.delay_ms,
        "delay": event.delay_ms,
        "scheduled_at": event.scheduled_at,
        "running_since": event.scheduled_at,
        "content": content,
    });
    if let Some(state_key) = event.state_key {
        json["state_key"] = state_key.into();
    }
    let Some((finalised_ts, outcome)) = event.outcome else { return Ok(json) };
    json["finalised_ts"] = finalised_ts.into();
    match outcome {
        Outcome::Sent(event_id) => json["event_id"] = event_id.as_str().into(),
        Outcome::Cancelled => {}
        Outcome::Failed { failure, reason } => {
            json["error"] = json!({ "errcode": errcode(failure), "error": reason });
        }
    }
    Ok(json)
}

fn errcode(failure: Failure) -> &'static str {
    match failure {
        Failure::Forbidden => "M_FORBIDDEN",
        Failure::Suspended => "M_USER_SUSPENDED",
        Failure::NotFound => "M_NOT_FOUND",
        Failure::BadJson => "M_BAD_JSON",
        Failure::InvalidParam => "M_INVALID_PARAM",
        Failure::TooLarge => "M_TOO_LARGE",
        Failure::Other => "M_UNKNOWN",
    }
}

async fn update_delayed_event(
    State(gate): State<Gate>,
    State(delayed): State<DelayedEvents>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [delay_id, action] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let action = change(action).ok_or_else(Error::unrecognized)?;
    update(&gate, &delayed, &session, delay_id, action).await
}

/// As the proposal had it before.
async fn update_delayed_event_by_body(
    State(gate): State<Gate>,
    State(delayed): State<DelayedEvents>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        action: String,
    }
    let [delay_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let Body { action } = parse(&body)?;
    let action = change(&action).ok_or_else(|| Error::invalid_param("There is no such action"))?;
    update(&gate, &delayed, &session, delay_id, action).await
}

fn change(action: &str) -> Option<Change> {
    match action {
        "send" => Some(Change::Send),
        "cancel" => Some(Change::Cancel),
        "restart" => Some(Change::Restart),
        _ => None,
    }
}

async fn update(
    gate: &Gate,
    delayed: &DelayedEvents,
    session: &Session,
    delay_id: &str,
    action: Change,
) -> Result<Empty, Error> {
    if action == Change::Send {
        gate.may_act(session)?;
        gate.limit_user(Action::Message, session)?;
    }
    delayed.act(&session.user_id, delay_id, action).await?;
    Ok(Empty)
}

impl From<DelayedError> for Error {
    fn from(error: DelayedError) -> Self {
        use DelayedError as E;
        let text = error.to_string();
        match error {
            E::NotFound => Self::not_found(text),
            E::Finalised | E::Sending => Self::new(StatusCode::CONFLICT, "M_UNKNOWN", text),
            E::TooLong(_) | E::Forbidden(_) => Self::forbidden(text),
            E::TooMany(wait) => Self::limit_exceeded(wait),
            E::Invalid(_) => Self::invalid_param(text),
            E::TooLarge => Self::too_large(text),
            E::Rooms(error) => error.into(),
            E::Accounts(error) => error.into(),
            E::Commit(storage::CommitError::LowSpace) => Self::low_space(),
            E::Read(_) | E::Commit(_) => Self::internal(&text),
        }
    }
}
