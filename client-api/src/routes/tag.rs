//! `/_matrix/client/*/user/{userId}/rooms/{roomId}/tags` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#room-tagging

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, put},
};
use serde_json::{json, value::RawValue};

use super::config::{own, room};
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
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let tags = format!("/_matrix/client/{version}/user/{{user_id}}/rooms/{{room_id}}/tags");
        router = router
            .route(&tags, get(get_tags))
            .route(&format!("{tags}/{{tag}}"), put(create_tag).delete(delete_tag));
    }
    router
}

async fn get_tags(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let [user_id, room_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    let tags = accounts.tags(&session.user_id, &room(room_id)?).await?;
    Ok(RawJson(json!({ "tags": tags }).to_string().into()))
}

async fn create_tag(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [user_id, room_id, tag] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    let info: Box<RawValue> = json(&body)?;
    accounts.set_tag(&session.user_id, &room(room_id)?, tag, &info).await?;
    Ok(Empty)
}

async fn delete_tag(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [user_id, room_id, tag] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    accounts.delete_tag(&session.user_id, &room(room_id)?, tag).await?;
    Ok(Empty)
}
