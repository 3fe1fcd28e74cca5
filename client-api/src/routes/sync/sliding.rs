//! `POST /_matrix/client/v4/sync` ([MSC4186]), and the form of it that clients send today.
//!
//! The requests are read by hand: ruma knows the older form only, and not all of that.
//!
//! [MSC4186]: https://github.com/matrix-org/matrix-spec-proposals/pull/4186

use std::time::Duration;

use accounts::{Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use serde::Deserialize;
use sync::{Dialect, SlidingBody, SlidingBodyError, SlidingRequest, Sync as SyncEngine};

use super::presence_state;
use crate::{
    error::Error,
    extract::{AuthedRaw, is_json},
    gate::{Gate, session_over},
    respond::RawJson,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    SyncEngine: FromRef<S>,
{
    let unstable = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    Router::new()
        .route(unstable, post(sync_events_unstable))
        .route("/_matrix/client/v4/sync", post(sync_events))
}

/// In the unstable form these are not in the body.
#[derive(Deserialize)]
struct Query {
    pos: Option<String>,
    timeout: Option<u64>,
    set_presence: Option<String>,
}

async fn sync_events_unstable(
    State(accounts): State<Accounts>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))?;
    let mut body = parse(Dialect::Unstable, &session, &body)?;
    body.pos = query.pos;
    body.timeout_ms = query.timeout;
    body.set_presence = query.set_presence;
    answer(&accounts, &sync, &session, body).await
}

async fn sync_events(
    State(accounts): State<Accounts>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let body = parse(Dialect::Stable, &session, &body)?;
    answer(&accounts, &sync, &session, body).await
}

fn parse(dialect: Dialect, session: &Session, body: &[u8]) -> Result<SlidingBody, Error> {
    SlidingBody::parse(dialect, &session.user_id, body).map_err(|error| match error {
        SlidingBodyError::Json(_) if !is_json(body) => Error::not_json(),
        error => refusal(&error),
    })
}

/// Of what is JSON.
pub(super) fn refusal(error: &SlidingBodyError) -> Error {
    match error {
        SlidingBodyError::Json(_) => Error::bad_json(error.to_string()),
        SlidingBodyError::Invalid(why) => Error::invalid_param(why.clone()),
    }
}

async fn answer(
    accounts: &Accounts,
    sync: &SyncEngine,
    session: &Session,
    mut body: SlidingBody,
) -> Result<RawJson, Error> {
    let pos = body.pos.take().filter(|pos| !pos.is_empty());
    let request = SlidingRequest {
        user: &session.user_id,
        device: &session.device_id,
        pos: pos.as_deref(),
        timeout: Duration::from_millis(body.timeout_ms.unwrap_or(0)),
        set_presence: presence_state(body.set_presence.as_deref())?,
        body,
    };
    // Logging out ends a poll at once, and is not told to who is logged out as a device that went.
    tokio::select! {
        biased;
        () = accounts.session_ended(session.id) => Err(session_over(accounts, session)),
        body = sync.sliding(request) => Ok(RawJson(body?)),
    }
}
