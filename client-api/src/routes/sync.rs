//! `GET /_matrix/client/*/sync` ([spec])
//!
//! The query is read by hand: ruma knows neither both spellings of `use_state_after` nor which
//! values of `set_presence` are valid.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync

mod sliding;
mod threads;
pub(crate) mod ws;

use std::{sync::Arc, time::Duration};

use accounts::{Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use ruma::presence::PresenceState;
use serde::Deserialize;
use sync::{Filter, StateAfter, Sync as SyncEngine, V3Request};

use self::ws::Sockets;
use crate::{
    error::Error,
    extract::AuthedRaw,
    gate::{Gate, session_over},
    respond::RawJson,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    SyncEngine: FromRef<S>,
    Sockets: FromRef<S>,
{
    Router::new()
        .merge(sliding::router())
        .merge(threads::router())
        .merge(ws::router())
        .route("/_matrix/client/r0/sync", get(sync_events))
        .route("/_matrix/client/v3/sync", get(sync_events))
}

#[derive(Deserialize)]
struct Query {
    since: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    full_state: bool,
    set_presence: Option<String>,
    timeout: Option<u64>,
    use_state_after: Option<bool>,
    #[serde(rename = "org.matrix.msc4222.use_state_after")]
    unstable_use_state_after: Option<bool>,
}

/// Which spelling of `state_after` was asked for, if any.
pub(super) fn state_after(stable: Option<bool>, unstable: Option<bool>) -> Option<StateAfter> {
    match (stable, unstable) {
        (Some(true), _) => Some(StateAfter::Stable),
        (_, Some(true)) => Some(StateAfter::Unstable),
        _ => None,
    }
}

/// ruma takes any text for a presence.
pub(super) fn presence_state(text: Option<&str>) -> Result<PresenceState, Error> {
    match text {
        None | Some("online") => Ok(PresenceState::Online),
        Some("unavailable") => Ok(PresenceState::Unavailable),
        Some("offline") => Ok(PresenceState::Offline),
        Some(other) => Err(Error::invalid_param(format!("{other:?} is not a presence"))),
    }
}

/// The JSON of a filter that is given by id, or itself if it starts with `{`.
pub(super) async fn filter_json(
    accounts: &Accounts,
    session: &Session,
    filter: Option<&str>,
) -> Result<String, Error> {
    match filter {
        None | Some("") => Ok("{}".to_owned()),
        Some(json) if json.starts_with('{') => Ok(json.to_owned()),
        Some(id) => {
            let json = accounts.filter(&session.user_id, id).await?;
            let json =
                json.ok_or_else(|| Error::invalid_param(format!("There is no filter {id:?}")))?;
            Ok(json.get().to_owned())
        }
    }
}

pub(super) fn parse_filter(json: &str) -> Result<Arc<Filter>, Error> {
    Filter::parse(json).map(Arc::new).map_err(|error| Error::invalid_param(error.to_string()))
}

async fn sync_events(
    State(accounts): State<Accounts>,
    State(sockets): State<Sockets>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))?;
    let filter = filter_json(&accounts, &session, query.filter.as_deref()).await?;
    let request = V3Request {
        user: &session.user_id,
        device: Some(&session.device_id),
        since: query.since.as_deref().filter(|since| !since.is_empty()),
        filter: sockets.parse_filter(&filter)?,
        full_state: query.full_state,
        set_presence: presence_state(query.set_presence.as_deref())?,
        use_state_after: state_after(query.use_state_after, query.unstable_use_state_after),
        timeout: Duration::from_millis(query.timeout.unwrap_or(0)),
    };
    // Logging out ends a poll at once, and is not told to who is logged out as a device that went.
    tokio::select! {
        biased;
        () = accounts.session_ended(session.id) => Err(session_over(&accounts, &session)),
        body = sync.v3(request) => Ok(RawJson(body?)),
    }
}
