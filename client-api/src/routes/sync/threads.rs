//! `GET /unstable/io.element.msc4308/thread_subscriptions`: what an answer of sliding sync had no
//! room for ([MSC4308]).
//!
//! [MSC4308]: https://github.com/matrix-org/matrix-spec-proposals/pull/4308

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use serde::Deserialize;
use sync::Sync as SyncEngine;

use crate::{error::Error, extract::AuthedRaw, gate::Gate, respond::RawJson};

const LIMIT: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    SyncEngine: FromRef<S>,
{
    let path = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";
    Router::new().route(path, get(get_thread_subscriptions_changes))
}

#[derive(Deserialize)]
struct Query {
    dir: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
}

async fn get_thread_subscriptions_changes(
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))?;
    match query.dir.as_deref() {
        Some("b") => (),
        None => return Err(Error::missing_param("`dir` is missing")),
        Some(other) => return Err(Error::invalid_param(format!("`dir` is b, not {other:?}"))),
    }
    let limit = query.limit.unwrap_or(LIMIT);
    if limit == 0 {
        return Err(Error::invalid_param("`limit` must be greater than zero"));
    }
    let (from, to) = (query.from.as_deref(), query.to.as_deref());
    Ok(RawJson(sync.thread_subscriptions(&session.user_id, from, to, limit).await?))
}
