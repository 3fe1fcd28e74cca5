//! `GET /backfill`, `POST /get_missing_events`.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use rooms::peers::MissingQuery;
use ruma::{OwnedEventId, RoomId};
use serde::Deserialize;

use super::{PdusBody, RawJson, json, raw};
use crate::{
    error::Error,
    extract::{Signed, id},
    inbound::Inbound,
};

/// Ids that one request may name.
const IDS_MAX: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/backfill/{room_id}", get(backfill))
        .route("/_matrix/federation/v1/get_missing_events/{room_id}", post(get_missing_events))
}

async fn backfill(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        v: Vec<OwnedEventId>,
        limit: usize,
    }
    let [room] = request.path()?;
    let Query { v, limit } = request.query()?;
    if v.len() > IDS_MAX {
        return Err(Error::invalid_param("too many events are named"));
    }
    let room: &RoomId = id(room)?;
    let pdus = inbound.inner.rooms.peer_backfill(&origin, room, v, limit).await?;
    json(&PdusBody::new(&inbound, &pdus)?)
}

async fn get_missing_events(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    // Both lists are required, and who names no events asks for none, as Synapse has it.
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        earliest_events: Vec<OwnedEventId>,
        #[serde(default)]
        latest_events: Vec<OwnedEventId>,
        #[serde(default = "ten")]
        limit: usize,
        #[serde(default)]
        min_depth: u64,
    }
    fn ten() -> usize {
        10
    }
    let [room] = request.path()?;
    let Body { earliest_events, latest_events, limit, min_depth } = request.json()?;
    if earliest_events.len() > IDS_MAX || latest_events.len() > IDS_MAX {
        return Err(Error::invalid_param("too many events are named"));
    }
    let query = MissingQuery { earliest: earliest_events, latest: latest_events, limit, min_depth };
    let pdus = inbound.inner.rooms.peer_missing_events(&origin, id(room)?, query).await?;
    json(&BTreeMap::from([("events", raw(&pdus)?)]))
}
