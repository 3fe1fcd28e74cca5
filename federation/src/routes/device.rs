//! `GET /user/devices`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use ruma::UserId;
use serde_json::{Value, json};

use super::{RawJson, json};
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
    Router::new().route("/_matrix/federation/v1/user/devices/{user_id}", get(get_devices))
}

async fn get_devices(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    let [user] = request.path()?;
    let user: &UserId = id(user)?;
    if user.server_name() != inbound.server_name() {
        return Err(Error::invalid_param("The user is not one of this server"));
    }
    let devices = inbound.inner.devices.list(user).await;
    let devices = devices.map_err(|error| Error::internal(&error))?;
    let devices: Vec<Value> = devices
        .iter()
        .map(|device| {
            let keys = json!({
                "user_id": user,
                "device_id": device.device_id,
                "algorithms": [],
                "keys": {},
                "signatures": {},
            });
            json!({ "device_id": device.device_id, "keys": keys })
        })
        .collect();
    json(&json!({ "user_id": user, "stream_id": 1, "devices": devices }))
}
