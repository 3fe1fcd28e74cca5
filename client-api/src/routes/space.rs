//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy` and `/room_summary` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#viewing-subspaces

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{HierarchyPage, HierarchyQuery, RoomSummary, Rooms};
use ruma::api::client::{room::get_summary, space::get_hierarchy};
use serde_json::{Map, Value, json};

use super::{EndpointExt as _, membership::resolve};
use crate::{
    error::Error,
    extract::{Authed, MaybeAuthed},
    gate::Gate,
    respond::RawJson,
};

/// Rooms of one page at most. The same as Synapse's.
const PAGE_ROOMS_MAX: usize = 50;
/// How deep a hierarchy is walked when the client does not say.
const DEPTH_MAX: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_hierarchy::v1::Request, _, _>(get_hierarchy)
        .endpoint::<get_summary::v1::Request, _, _>(get_summary)
}

/// The fields that the hierarchy and the summary share.
fn summary_json(summary: &RoomSummary) -> Result<Map<String, Value>, Error> {
    let room = &summary.room;
    let mut json = Map::new();
    json.insert("room_id".to_owned(), json!(room.room_id));
    json.insert("num_joined_members".to_owned(), json!(room.num_joined_members));
    json.insert("world_readable".to_owned(), json!(room.world_readable));
    json.insert("guest_can_join".to_owned(), json!(room.guest_can_join));
    json.insert("join_rule".to_owned(), json!(room.join_rule));
    json.insert("room_version".to_owned(), json!(summary.room_version));
    let optional = [
        ("name", json!(room.name)),
        ("topic", json!(room.topic)),
        ("canonical_alias", json!(room.canonical_alias)),
        ("avatar_url", json!(room.avatar_url)),
        ("room_type", json!(room.room_type)),
        ("encryption", json!(summary.encryption)),
    ];
    for (key, value) in optional {
        if !value.is_null() {
            json.insert(key.to_owned(), value);
        }
    }
    if !summary.allowed_room_ids.is_empty() {
        json.insert("allowed_room_ids".to_owned(), json!(summary.allowed_room_ids));
    }
    Ok(json)
}

async fn get_hierarchy(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_hierarchy::v1::Request>,
) -> Result<RawJson, Error> {
    let bound = |value: Option<ruma::UInt>, otherwise: usize| {
        value.map_or(otherwise, |value| usize::try_from(value).unwrap_or(otherwise)).min(otherwise)
    };
    let query = HierarchyQuery {
        from: req.from.as_deref(),
        limit: bound(req.limit, PAGE_ROOMS_MAX).max(1),
        max_depth: bound(req.max_depth, DEPTH_MAX),
        suggested_only: req.suggested_only,
    };
    let HierarchyPage { rooms: found, next_batch } =
        rooms.hierarchy(&session.user_id, &req.room_id, query).await?;
    let mut chunk = Vec::with_capacity(found.len());
    for summary in &found {
        let mut json = summary_json(summary)?;
        let children = summary
            .children_state
            .iter()
            .map(|child| serde_json::from_slice::<Value>(child))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::internal(&error))?;
        json.insert("children_state".to_owned(), Value::Array(children));
        chunk.push(Value::Object(json));
    }
    let mut response = Map::new();
    response.insert("rooms".to_owned(), Value::Array(chunk));
    if let Some(next_batch) = next_batch {
        response.insert("next_batch".to_owned(), next_batch.into());
    }
    Ok(RawJson(Value::Object(response).to_string().into()))
}

async fn get_summary(
    State(rooms): State<Rooms>,
    MaybeAuthed { session, req }: MaybeAuthed<get_summary::v1::Request>,
) -> Result<RawJson, Error> {
    let (room_id, servers) = resolve(&rooms, &req.room_id_or_alias).await?;
    let summary = match &session {
        Some(session) => {
            let via: Vec<_> = req.via.into_iter().chain(servers).collect();
            rooms.summary_via(&session.user_id, &room_id, &via).await?
        }
        // Strangers do not make this server ask others.
        None => rooms.summary(None, &room_id).await?,
    };
    let mut json = summary_json(&summary)?;
    if session.is_some() {
        let membership = summary.membership.as_ref().map_or("leave", |state| state.as_str());
        json.insert("membership".to_owned(), membership.into());
    }
    Ok(RawJson(Value::Object(json).to_string().into()))
}
