//! `/_matrix/key/v2`: our keys, and those of others as a notary.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

use super::{RawJson, json, raw};
use crate::{
    error::Error,
    extract::{Plain, id},
    inbound::Inbound,
};

/// Servers that one request may ask for: each can cost a request of ours.
const SERVERS_MAX: usize = 64;
const AT_ONCE: usize = 8;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/key/v2/server", get(get_server_keys))
        .route("/_matrix/key/v2/server/{key_id}", get(get_server_keys))
        .route("/_matrix/key/v2/query/{server_name}", get(get_remote_server_keys))
        .route("/_matrix/key/v2/query/{server_name}/{key_id}", get(get_remote_server_key))
        .route("/_matrix/key/v2/query", post(get_remote_server_keys_batch))
}

async fn get_server_keys(State(inbound): State<Inbound>) -> Result<RawJson, Error> {
    let document = inbound.inner.keys.own_document();
    document.map(RawJson).map_err(|error| Error::internal(&error))
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct Criteria {
    minimum_valid_until_ts: Option<u64>,
}

async fn get_remote_server_keys(
    State(inbound): State<Inbound>,
    request: Plain,
) -> Result<RawJson, Error> {
    let [server] = request.path()?;
    let server: &ServerName = id(server)?;
    let criteria: Criteria = request.query()?;
    answer(&inbound, vec![(server.to_owned(), criteria)]).await
}

/// As it was before v1.2, and is still asked: all keys are told, whichever is named.
async fn get_remote_server_key(
    State(inbound): State<Inbound>,
    request: Plain,
) -> Result<RawJson, Error> {
    let [server, _key_id] = request.path()?;
    let server: &ServerName = id(server)?;
    let criteria: Criteria = request.query()?;
    answer(&inbound, vec![(server.to_owned(), criteria)]).await
}

async fn get_remote_server_keys_batch(
    State(inbound): State<Inbound>,
    request: Plain,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        server_keys: BTreeMap<OwnedServerName, BTreeMap<String, Criteria>>,
    }
    let Body { server_keys } = request.json()?;
    if server_keys.len() > SERVERS_MAX {
        return Err(Error::invalid_param(format!("at most {SERVERS_MAX} servers can be named")));
    }
    let now = inbound.inner.clock.now_ms();
    let strictest = |keys: BTreeMap<String, Criteria>| {
        let minimum = keys.values().map(|key| key.minimum_valid_until_ts.unwrap_or(now)).max();
        Criteria { minimum_valid_until_ts: minimum }
    };
    let wanted = server_keys.into_iter().map(|(server, keys)| (server, strictest(keys))).collect();
    answer(&inbound, wanted).await
}

async fn answer(
    inbound: &Inbound,
    wanted: Vec<(OwnedServerName, Criteria)>,
) -> Result<RawJson, Error> {
    let keys = &inbound.inner.keys;
    let found: Vec<Option<Bytes>> = stream::iter(wanted)
        .map(async |(server, Criteria { minimum_valid_until_ts })| {
            keys.notarised(&server, minimum_valid_until_ts).await
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let found: Vec<Bytes> = found.into_iter().flatten().collect();
    json(&BTreeMap::from([("server_keys", raw(&found)?)]))
}
