//! `PUT /_matrix/client/*/rooms/{roomId}/typing/{userId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid

use std::time::Duration;

use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};
use rooms::Rooms;
use serde::Deserialize;

use super::config::room;
use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::Empty,
};

/// How long somebody types when the client does not say.
pub(super) const TYPING_DEFAULT: Duration = Duration::from_secs(30);

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/typing/{{user_id}}");
        router = router.route(&path, put(create_typing_event));
    }
    router
}

/// `timeout` is required by ruma, but clients leave it out.
#[derive(Deserialize)]
struct Typing {
    typing: bool,
    timeout: Option<u64>,
}

async fn create_typing_event(
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [room_id, user_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let room_id = room(room_id)?;
    if *user_id != session.user_id {
        return Err(Error::forbidden("You may only set your own typing state"));
    }
    let Typing { typing, timeout } = json(&body)?;
    if typing {
        let timeout = timeout.map_or(TYPING_DEFAULT, Duration::from_millis);
        rooms.start_typing(&room_id, &session.user_id, timeout).await?;
    } else {
        rooms.stop_typing(&room_id, &session.user_id).await?;
    }
    Ok(Empty)
}
