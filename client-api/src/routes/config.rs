//! Account data: `/user/{userId}/account_data/{type}` and `/user/{userId}/rooms/{roomId}/…`
//! ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#client-config

use accounts::{AccountDataError, Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{delete, get},
};
use http::StatusCode;
use ruma::{OwnedRoomId, RoomId};
use serde_json::value::RawValue;

use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::{Empty, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let methods = || get(get_account_data).put(set_account_data).delete(delete_account_data);
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let user = format!("/_matrix/client/{version}/user/{{user_id}}");
        router = router
            .route(&format!("{user}/account_data/{{type}}"), methods())
            .route(&format!("{user}/rooms/{{room_id}}/account_data/{{type}}"), methods());
    }
    let user = "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}";
    router.route(&format!("{user}/account_data/{{type}}"), delete(delete_account_data)).route(
        &format!("{user}/rooms/{{room_id}}/account_data/{{type}}"),
        delete(delete_account_data),
    )
}

/// The room (if the path has one) and the type. The user has to be the one who asks.
fn target<'a>(
    session: &Session,
    path_args: &'a [String],
) -> Result<(Option<OwnedRoomId>, &'a str), Error> {
    let (user_id, room_id, event_type) = match path_args {
        [user_id, event_type] => (user_id, None, event_type),
        [user_id, room_id, event_type] => (user_id, Some(room_id), event_type),
        _ => return Err(Error::unrecognized()),
    };
    own(session, user_id)?;
    let room_id = room_id.map(|room_id| room(room_id)).transpose()?;
    Ok((room_id, event_type))
}

pub(super) fn own(session: &Session, user_id: &str) -> Result<(), Error> {
    if user_id != session.user_id {
        return Err(Error::forbidden("You may only read and change your own account data"));
    }
    Ok(())
}

pub(super) fn room(room_id: &str) -> Result<OwnedRoomId, Error> {
    RoomId::parse(room_id)
        .map_err(|_| Error::invalid_param(format!("{room_id:?} is not a room id")))
}

async fn get_account_data(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let (room_id, event_type) = target(&session, &path_args)?;
    let content = accounts
        .account_data(&session.user_id, room_id.as_deref(), event_type)
        .await?
        .ok_or_else(|| Error::not_found("Account data not found"))?;
    Ok(RawJson(content.get().to_owned().into()))
}

async fn set_account_data(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let (room_id, event_type) = target(&session, &path_args)?;
    let content: Box<RawValue> = json(&body)?;
    accounts.set_account_data(&session.user_id, room_id.as_deref(), event_type, &content).await?;
    Ok(Empty)
}

/// MSC3391. "These endpoints always return 200 OK", whether there was anything or not.
async fn delete_account_data(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let (room_id, event_type) = target(&session, &path_args)?;
    accounts.delete_account_data(&session.user_id, room_id.as_deref(), event_type).await?;
    Ok(Empty)
}

impl From<AccountDataError> for Error {
    fn from(error: AccountDataError) -> Self {
        let text = error.to_string();
        match error {
            // "405: This type of account data is controlled by the server".
            AccountDataError::ServerManaged(_) => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_BAD_JSON", text)
            }
            AccountDataError::NotAnObject => Self::bad_json(text),
            AccountDataError::TooLarge | AccountDataError::TooMuch => Self::too_large(text),
            AccountDataError::Store(error) => error.into(),
        }
    }
}
