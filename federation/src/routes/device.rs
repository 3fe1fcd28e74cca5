//! `GET /user/devices`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use devices::keys::{DeviceList, SigningKeys};
use ruma::UserId;
use serde_json::{Map, Value, json};

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
    let list = inbound.inner.devices.device_list(user).await?;
    let DeviceList { user_id, stream_id, devices, signing_keys } = list;
    // "keys" is required: a device without any is nobody else's business yet.
    let with_keys = devices.into_iter().filter_map(|device| {
        let mut entry = json!({ "device_id": device.device_id, "keys": device.keys? });
        if let Some(name) = device.display_name {
            entry["device_display_name"] = name.into();
        }
        Some(entry)
    });
    let mut body = Map::from_iter([
        ("user_id".to_owned(), json!(user_id)),
        ("stream_id".to_owned(), stream_id.into()),
        ("devices".to_owned(), with_keys.collect::<Value>()),
    ]);
    let SigningKeys { master, self_signing, .. } = signing_keys;
    for (name, key) in [("master_key", master), ("self_signing_key", self_signing)] {
        body.extend(key.map(|key| (name.to_owned(), json!(key))));
    }
    json(&body)
}
