//! `POST /_matrix/client/*/user_directory/search` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#user-directory

use axum::{
    Router,
    extract::{FromRef, State},
};
use ruma::api::client::user_directory::search_users;
use serde_json::{Map, Value, json};
use user_directory::{FoundUser, UserDirectory};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::RawJson};

/// The same as Synapse's.
const RESULTS_MAX: usize = 50;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    UserDirectory: FromRef<S>,
{
    Router::new().endpoint::<search_users::v3::Request, _, _>(search_users)
}

async fn search_users(
    State(directory): State<UserDirectory>,
    Authed { session, req }: Authed<search_users::v3::Request>,
) -> Result<RawJson, Error> {
    let limit = usize::try_from(req.limit).unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let found = directory.search(&session.user_id, &req.search_term, limit).await?;
    let results: Vec<_> = found.users.into_iter().map(result).collect();
    let body = json!({ "results": results, "limited": found.limited });
    Ok(RawJson(body.to_string().into()))
}

fn result(user: FoundUser) -> Value {
    let mut json = Map::new();
    json.insert("user_id".to_owned(), json!(user.user_id));
    for (key, value) in [("display_name", user.display_name), ("avatar_url", user.avatar_url)] {
        if let Some(value) = value {
            json.insert(key.to_owned(), value.into());
        }
    }
    Value::Object(json)
}

impl From<user_directory::Error> for Error {
    fn from(error: user_directory::Error) -> Self {
        match error {
            user_directory::Error::Rooms(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
