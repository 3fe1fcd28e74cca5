//! `/.well-known/matrix/server`: where other servers that know the region's name find it.

use axum::{Json, Router, routing::get};
use ruma::OwnedServerName;
use serde_json::json;

use crate::app_state::SharedState;

pub(crate) fn router(delegate_to: OwnedServerName) -> Router<SharedState> {
    let answer = json!({ "m.server": delegate_to });
    Router::new().route("/.well-known/matrix/server", get(async move || Json(answer)))
}
