//! `GET /hierarchy`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use rooms::RoomSummary;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{RawJson, json, raw};
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
    Router::new().route("/_matrix/federation/v1/hierarchy/{room_id}", get(get_hierarchy))
}

async fn get_hierarchy(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        suggested_only: bool,
    }
    let [room] = request.path()?;
    let Query { suggested_only } = request.query()?;
    let rooms = &inbound.inner.rooms;
    let found = rooms.peer_hierarchy(&origin, id(room)?, suggested_only).await?;
    let children = found.children.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
    json(&json!({
        "room": summary(&found.room)?,
        "children": children,
        "inaccessible_children": found.inaccessible_children,
    }))
}

fn summary(summary: &RoomSummary) -> Result<Value, Error> {
    let room = &summary.room;
    let mut json = json!({
        "room_id": room.room_id,
        "num_joined_members": room.num_joined_members,
        "world_readable": room.world_readable,
        "guest_can_join": room.guest_can_join,
        "join_rule": room.join_rule,
        "room_version": summary.room_version,
        "allowed_room_ids": summary.allowed_room_ids,
        "children_state": raw(&summary.children_state)?,
    });
    let optional = [
        ("name", json!(room.name)),
        ("topic", json!(room.topic)),
        ("canonical_alias", json!(room.canonical_alias)),
        ("avatar_url", json!(room.avatar_url)),
        ("room_type", json!(room.room_type)),
        ("encryption", json!(summary.encryption)),
    ];
    let object: Option<&mut Map<String, Value>> = json.as_object_mut();
    if let Some(object) = object {
        let known = optional.into_iter().filter(|(_, value)| !value.is_null());
        object.extend(known.map(|(key, value)| (key.to_owned(), value)));
    }
    Ok(json)
}
