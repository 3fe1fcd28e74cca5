//! `/_matrix/client/*/user/{userId}/filter` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#filtering

use accounts::{Accounts, FilterError};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use serde_json::{json, value::RawValue};
use sync::Filter;

use super::config::own;
use crate::{
    error::Error,
    extract::{self, AuthedRaw},
    gate::Gate,
    respond::RawJson,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let filter = format!("/_matrix/client/{version}/user/{{user_id}}/filter");
        router = router
            .route(&filter, post(create_filter))
            .route(&format!("{filter}/{{filter_id}}"), get(get_filter));
    }
    router
}

async fn create_filter(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let [user_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    let filter: Box<RawValue> = extract::json(&body)?;
    Filter::parse(filter.get()).map_err(|error| Error::bad_json(error.to_string()))?;
    let filter_id = accounts.create_filter(&session.user_id, &filter).await?;
    Ok(RawJson(json!({ "filter_id": filter_id }).to_string().into()))
}

async fn get_filter(
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let [user_id, filter_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    own(&session, user_id)?;
    let filter = accounts
        .filter(&session.user_id, filter_id)
        .await?
        .ok_or_else(|| Error::not_found("Filter not found"))?;
    Ok(RawJson(filter.get().to_owned().into()))
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        let text = error.to_string();
        match error {
            FilterError::TooLarge | FilterError::TooMany => Self::too_large(text),
            FilterError::NotAnObject => Self::bad_json(text),
            FilterError::Store(error) => error.into(),
        }
    }
}
