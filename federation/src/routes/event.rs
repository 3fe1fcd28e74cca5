//! `GET /event`, `/event_auth`, `/state`, `/state_ids`, `/timestamp_to_event`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use rooms::StoredEvent;
use ruma::{OwnedEventId, api::Direction};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{PdusBody, RawJson, json, raw};
use crate::{
    error::Error,
    extract::{Signed, id},
    inbound::Inbound,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/event/{event_id}", get(get_event))
        .route("/_matrix/federation/v1/event_auth/{room_id}/{event_id}", get(get_event_auth))
        .route("/_matrix/federation/v1/state/{room_id}", get(get_room_state))
        .route("/_matrix/federation/v1/state_ids/{room_id}", get(get_room_state_ids))
        .route("/_matrix/federation/v1/timestamp_to_event/{room_id}", get(get_event_by_timestamp))
}

#[derive(Deserialize)]
struct At {
    event_id: OwnedEventId,
}

/// The events' PDUs as values of a body.
pub(super) fn pdus(events: &[Arc<StoredEvent>]) -> Result<Vec<&RawValue>, Error> {
    events
        .iter()
        .map(|event| {
            serde_json::from_slice(event.pdu.json()).map_err(|error| Error::internal(&error))
        })
        .collect()
}

async fn get_event(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [event] = request.path()?;
    let pdu = inbound.inner.rooms.peer_event(&origin, id(event)?).await?;
    json(&PdusBody::new(&inbound, &[pdu])?)
}

async fn get_event_auth(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [room, event] = request.path()?;
    let chain = inbound.inner.rooms.peer_event_auth(&origin, id(room)?, id(event)?).await?;
    json(&BTreeMap::from([("auth_chain", raw(&chain)?)]))
}

async fn get_room_state(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [room] = request.path()?;
    let At { event_id } = request.query()?;
    let found = inbound.inner.rooms.peer_state(&origin, id(room)?, &event_id).await?;
    let (state, auth_chain) = (pdus(&found.state)?, pdus(&found.auth_chain)?);
    json(&BTreeMap::from([("pdus", state), ("auth_chain", auth_chain)]))
}

async fn get_room_state_ids(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [room] = request.path()?;
    let At { event_id } = request.query()?;
    let found = inbound.inner.rooms.peer_state(&origin, id(room)?, &event_id).await?;
    let ids = |events: &[Arc<StoredEvent>]| -> Vec<OwnedEventId> {
        events.iter().map(|event| event.event_id().clone()).collect()
    };
    let (state, auth_chain) = (ids(&found.state), ids(&found.auth_chain));
    json(&json!({ "pdu_ids": state, "auth_chain_ids": auth_chain }))
}

async fn get_event_by_timestamp(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        ts: u64,
        dir: Direction,
    }
    let [room] = request.path()?;
    let Query { ts, dir } = request.query()?;
    let rooms = &inbound.inner.rooms;
    let (event_id, ts) = rooms.peer_timestamp_to_event(&origin, id(room)?, ts, dir).await?;
    json(&json!({ "event_id": event_id, "origin_server_ts": ts }))
}
