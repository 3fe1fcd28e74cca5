//! `GET` and `POST` `/publicRooms`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use rooms::{PublicRoom, PublicRoomsQuery};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{RawJson, json};
use crate::{error::Error, extract::Signed, inbound::Inbound};

/// Rooms of one page, when the server names no limit and at most.
const PAGE_ROOMS: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new().route(
        "/_matrix/federation/v1/publicRooms",
        get(get_public_rooms).post(get_public_rooms_filtered),
    )
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Filter {
    generic_search_term: Option<String>,
    room_types: Option<Vec<Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Query {
    limit: Option<usize>,
    since: Option<String>,
    filter: Filter,
}

async fn get_public_rooms(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Plain {
        limit: Option<usize>,
        since: Option<String>,
    }
    let Plain { limit, since } = request.query()?;
    answer(&inbound, &Query { limit, since, filter: Filter::default() }).await
}

async fn get_public_rooms_filtered(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    answer(&inbound, &request.json()?).await
}

async fn answer(inbound: &Inbound, query: &Query) -> Result<RawJson, Error> {
    let query = PublicRoomsQuery {
        search: query.filter.generic_search_term.as_deref(),
        room_types: query.filter.room_types.as_deref(),
        limit: query.limit.unwrap_or(PAGE_ROOMS).clamp(1, PAGE_ROOMS),
        // Some write the absence of a token as an empty one.
        since: query.since.as_deref().filter(|since| !since.is_empty()),
        ..PublicRoomsQuery::default()
    };
    let page = inbound.inner.rooms.public_rooms(query).await?;
    let chunk: Vec<Value> = page.chunk.iter().map(chunk).collect();
    let mut body = json!({ "chunk": chunk, "total_room_count_estimate": page.total });
    for (key, token) in [("next_batch", page.next_batch), ("prev_batch", page.prev_batch)] {
        if let Some(token) = token {
            body[key] = token.into();
        }
    }
    json(&body)
}

fn chunk(room: &PublicRoom) -> Value {
    let mut json = json!({
        "room_id": room.room_id,
        "num_joined_members": room.num_joined_members,
        "world_readable": room.world_readable,
        "guest_can_join": room.guest_can_join,
        "join_rule": room.join_rule,
    });
    let optional = [
        ("name", json!(room.name)),
        ("topic", json!(room.topic)),
        ("canonical_alias", json!(room.canonical_alias)),
        ("avatar_url", json!(room.avatar_url)),
        ("room_type", json!(room.room_type)),
    ];
    for (key, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        json[key] = value;
    }
    json
}
