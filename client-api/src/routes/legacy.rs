//! `/events`, `/initialSync` and `/rooms/{roomId}/initialSync` ([spec]): what clients used before
//! `/sync`. Deprecated, but part of the specification, and how guests look into a room.
//!
//! The answers are those of sync in another form. Events have the sender as `user_id` besides, as
//! clients of that age expect; nothing is sent to devices this way.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events

mod events;
mod initial_sync;

use std::time::Duration;

use accounts::{Accounts, Session};
use axum::{Router, extract::FromRef, routing::get};
use presence::Presence;
use rooms::Rooms;
use ruma::{UserId, presence::PresenceState};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sync::{StateAfter, Sync as SyncEngine, V3Request};

use super::sync::parse_filter;
use crate::{error::Error, gate::Gate};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Presence: FromRef<S>,
    Rooms: FromRef<S>,
    SyncEngine: FromRef<S>,
{
    ["r0", "v3"].into_iter().fold(Router::new(), |router, version| {
        let base = format!("/_matrix/client/{version}");
        router
            .route(&format!("{base}/events"), get(events::events))
            .route(&format!("{base}/events/{{event_id}}"), get(events::event))
            .route(&format!("{base}/initialSync"), get(initial_sync::initial_sync))
            .route(
                &format!("{base}/rooms/{{room_id}}/initialSync"),
                get(initial_sync::room_initial_sync),
            )
    })
}

fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Error> {
    serde_html_form::from_str(query.unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))
}

/// What sync says to the user. Without their device, since to-device messages are not for here.
async fn told(
    sync: &SyncEngine,
    session: &Session,
    since: Option<&str>,
    filter: &Value,
    timeout: Duration,
) -> Result<Value, Error> {
    let request = V3Request {
        user: &session.user_id,
        device: None,
        since,
        filter: parse_filter(&filter.to_string())?,
        full_state: false,
        set_presence: PresenceState::Offline,
        use_state_after: Some(StateAfter::Stable),
        timeout,
    };
    let body = sync.v3(request).await?;
    serde_json::from_slice(&body).map_err(|error| Error::internal(&error))
}

/// The events below `section`, as clients of old know them.
fn events_of(mut section: Value) -> Vec<Value> {
    match section["events"].take() {
        Value::Array(events) => events.into_iter().map(old_form).collect(),
        _ => Vec::new(),
    }
}

fn old_form(mut event: Value) -> Value {
    let is_presence = event["type"] == "m.presence";
    if let Some(sender) = event.get("sender").cloned() {
        if is_presence {
            event["content"]["user_id"] = sender;
        } else {
            event["user_id"] = sender;
        }
    }
    event
}

fn with_room(room_id: &str, mut event: Value) -> Value {
    event["room_id"] = room_id.into();
    event
}

/// The entries of an object in a sync answer, such as `rooms.join`.
fn take_entries(section: &mut Value) -> Vec<(String, Value)> {
    match section.take() {
        Value::Object(entries) => entries.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The user's own member event among those that an invitation shows.
fn own_member<'a>(state: &'a [Value], user: &UserId) -> Option<&'a Value> {
    state
        .iter()
        .find(|event| event["type"] == "m.room.member" && event["state_key"] == user.as_str())
}
