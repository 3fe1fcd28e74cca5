//! `/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription` (MSC4306).

use accounts::{Accounts, Session, Subscription, ThreadSubscriptionError};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use http::StatusCode;
use rooms::Rooms;
use ruma::{EventId, OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::json;

use super::config::room;
use crate::{
    error::Error,
    extract::{AuthedRaw, json_or_default},
    gate::Gate,
    respond::{Empty, RawJson},
};

const PATH: &str =
    "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{root}/subscription";

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    let methods = get(get_thread_subscription).put(subscribe_thread).delete(unsubscribe_thread);
    Router::new().route(PATH, methods)
}

fn event(event_id: &str) -> Result<OwnedEventId, Error> {
    EventId::parse(event_id)
        .map_err(|_| Error::invalid_param(format!("{event_id:?} is not an event id")))
}

/// The thread of the path, which the user can see.
async fn thread(
    rooms: &Rooms,
    session: &Session,
    path_args: &[String],
) -> Result<(OwnedRoomId, OwnedEventId), Error> {
    let [room_id, root] = path_args else { return Err(Error::unrecognized()) };
    let (room_id, root) = (room(room_id)?, event(root)?);
    rooms.event(&session.user_id, &room_id, &root).await?;
    Ok((room_id, root))
}

async fn get_thread_subscription(
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let (room_id, root) = thread(&rooms, &session, &path_args).await?;
    let automatic = accounts
        .thread_subscription(&session.user_id, &room_id, &root)
        .await?
        .ok_or_else(|| Error::not_found("You are not subscribed to this thread"))?;
    Ok(RawJson(json!({ "automatic": automatic }).to_string().into()))
}

async fn subscribe_thread(
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        automatic: Option<OwnedEventId>,
    }
    let Body { automatic } = json_or_default(&body)?;
    let (room_id, root) = thread(&rooms, &session, &path_args).await?;
    let subscription = match automatic {
        None => Subscription::Manual,
        Some(cause) => {
            let user_id = &session.user_id;
            let cause = rooms.place_in_thread(user_id, &room_id, &root, &cause).await?;
            Subscription::Automatic { cause: cause.ok_or_else(not_in_thread)? }
        }
    };
    accounts.subscribe_thread(&session.user_id, &room_id, &root, subscription).await?;
    Ok(Empty)
}

fn not_in_thread() -> Error {
    Error::new(
        StatusCode::BAD_REQUEST,
        "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD",
        "The event is not in this thread",
    )
}

async fn unsubscribe_thread(
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let (room_id, root) = thread(&rooms, &session, &path_args).await?;
    accounts.unsubscribe_thread(&session.user_id, &room_id, &root).await?;
    Ok(Empty)
}

impl From<ThreadSubscriptionError> for Error {
    fn from(error: ThreadSubscriptionError) -> Self {
        match error {
            ThreadSubscriptionError::Unsubscribed => Self::new(
                StatusCode::CONFLICT,
                "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
                error.to_string(),
            ),
            ThreadSubscriptionError::Store(error) => error.into(),
        }
    }
}
