//! `GET /_matrix/client/v1/mutual_rooms` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use rooms::Rooms;
use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;
use serde_json::json;

use crate::{error::Error, extract::AuthedRaw, gate::Gate, respond::RawJson};

/// Rooms of one page.
const PAGE_ROOMS: usize = 100;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().route("/_matrix/client/v1/mutual_rooms", get(get_mutual_rooms)).route(
        "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
        get(get_mutual_rooms),
    )
}

async fn get_mutual_rooms(
    State(rooms): State<Rooms>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        user_id: Option<String>,
        from: Option<String>,
        /// The name that `from` had before.
        batch_token: Option<String>,
    }
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))?;
    let user_id = query.user_id.as_deref().and_then(|user_id| UserId::parse(user_id).ok());
    let user_id = user_id.filter(|user_id| *user_id != session.user_id);
    let user_id =
        user_id.ok_or_else(|| Error::invalid_param("The user ID provided was invalid"))?;
    // The token is the last room of the page before, so that nothing is kept for it.
    let after = query.from.or(query.batch_token).map(RoomId::parse).transpose();
    let after = after.map_err(|_| Error::invalid_param("`from` is not a token of this list"))?;
    let all = rooms.mutual_rooms(&session.user_id, &user_id).await?;
    let (joined, next_batch) = page(&all, after);
    let mut body = json!({ "joined": joined, "count": all.len() });
    if let Some(next_batch) = next_batch {
        body["next_batch"] = json!(next_batch);
    }
    Ok(RawJson(body.to_string().into()))
}

fn page(all: &[OwnedRoomId], after: Option<OwnedRoomId>) -> (&[OwnedRoomId], Option<&RoomId>) {
    let start = after.map_or(0, |after| all.partition_point(|room| *room <= after));
    let end = all.len().min(start + PAGE_ROOMS);
    let page = &all[start..end];
    (page, page.last().filter(|_| end < all.len()).map(|room| &**room))
}

#[cfg(test)]
mod tests {
    use ruma::{OwnedRoomId, RoomId};

    use super::{PAGE_ROOMS, page};

    #[test]
    fn pages_hold_every_room_once() {
        let id = |number: usize| RoomId::parse(format!("!{number:04}:x.test")).expect("an id");
        let all: Vec<OwnedRoomId> = (0..2 * PAGE_ROOMS + 1).map(id).collect();
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let (rooms, next) = page(&all, after);
            found.extend_from_slice(rooms);
            pages += 1;
            after = next.map(ToOwned::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!((found, pages), (all, 3));
    }
}
