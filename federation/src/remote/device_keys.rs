//! Keys of devices, asked of their users' server. What an answer says of other users is left out;
//! what the keys themselves say is for others to check.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use devices::keys::{
    ClaimedKeys, DEVICES_MAX, DeviceList, DeviceWithKeys, KeysAnswer, KeysClaim, KeysQuery,
    SignedJson, SigningKeys,
};
use http::Method;
use rooms::ports::RemoteError;
use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Remote, answers::malformed, paths::Path};
use crate::{Limits, lists};

/// Of an answer: 10,000 devices with keys of an ordinary size.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Objects that nobody has looked at, by user.
type ByUser<'a> = BTreeMap<OwnedUserId, &'a RawValue>;
type ByDevice<'a> = BTreeMap<OwnedDeviceId, &'a RawValue>;

#[derive(Deserialize)]
struct Queried<'a> {
    #[serde(borrow)]
    device_keys: ByUser<'a>,
    #[serde(borrow, default)]
    master_keys: ByUser<'a>,
    #[serde(borrow, default)]
    self_signing_keys: ByUser<'a>,
}

#[derive(Deserialize)]
struct Claimed<'a> {
    #[serde(borrow)]
    one_time_keys: ByUser<'a>,
}

#[derive(Deserialize)]
struct Devices {
    user_id: OwnedUserId,
    stream_id: u64,
    #[serde(deserialize_with = "lists::readable::<_, _, DEVICES_MAX>")]
    devices: Vec<Device>,
    #[serde(default)]
    master_key: Option<SignedJson>,
    #[serde(default)]
    self_signing_key: Option<SignedJson>,
}

/// Deployed servers leave out the keys of a device that has none.
#[derive(Deserialize)]
struct Device {
    device_id: OwnedDeviceId,
    #[serde(default)]
    keys: Option<SignedJson>,
    #[serde(default)]
    device_display_name: Option<String>,
}

impl Remote {
    /// All users of `query` are the server's.
    pub(crate) async fn query_keys(
        &self,
        server: &ServerName,
        query: &KeysQuery,
        time: Duration,
    ) -> Result<KeysAnswer, RemoteError> {
        let body = json!({ "device_keys": query });
        let body = self.ask_keys(server, "user/keys/query", &body, time).await?;
        let queried: Queried<'_> =
            serde_json::from_slice(&body).map_err(|error| malformed(server, &error))?;
        let mut answer = KeysAnswer::default();
        for (user, devices) in of_asked(queried.device_keys, query) {
            let devices: ByDevice<'_> = serde_json::from_str(devices.get()).unwrap_or_default();
            let keys = devices.into_iter().take(DEVICES_MAX);
            let keys = keys.filter_map(|(device, keys)| Some((device, signed(keys)?)));
            answer.device_keys.insert(user, keys.collect());
        }
        let keys =
            |keys| of_asked(keys, query).filter_map(|(user, key)| Some((user, signed(key)?)));
        answer.master_keys = keys(queried.master_keys).collect();
        answer.self_signing_keys = keys(queried.self_signing_keys).collect();
        Ok(answer)
    }

    /// All users of `claim` are the server's.
    pub(crate) async fn claim_keys(
        &self,
        server: &ServerName,
        claim: &KeysClaim,
        time: Duration,
    ) -> Result<ClaimedKeys, RemoteError> {
        let body = json!({ "one_time_keys": claim });
        let body = self.ask_keys(server, "user/keys/claim", &body, time).await?;
        let claimed: Claimed<'_> =
            serde_json::from_slice(&body).map_err(|error| malformed(server, &error))?;
        let mut keys = ClaimedKeys::new();
        for (user, devices) in of_asked(claimed.one_time_keys, claim) {
            let devices: ByDevice<'_> = serde_json::from_str(devices.get()).unwrap_or_default();
            let of_user = &claim[&user];
            let keys_of = |(device, keys): (OwnedDeviceId, &RawValue)| {
                let keys = serde_json::from_str(keys.get()).ok()?;
                of_user.contains_key(&device).then_some((device, keys))
            };
            let devices = devices.into_iter().filter_map(keys_of).collect();
            keys.insert(user, devices);
        }
        Ok(keys)
    }

    /// All that the user's server says of their devices.
    pub(crate) async fn user_devices(
        &self,
        user: &UserId,
        time: Duration,
    ) -> Result<DeviceList, RemoteError> {
        let (server, path) = (user.server_name(), Path::v1("user/devices").and(user.as_str()));
        let limits = Limits { time, body: BODY_BYTES_MAX };
        let found: Devices = self.get(server, path, limits).await?;
        if found.user_id != user {
            return Err(malformed(server, &"these are the devices of somebody else"));
        }
        let devices = found.devices.into_iter().map(|device| DeviceWithKeys {
            device_id: device.device_id,
            display_name: device.device_display_name,
            keys: device.keys,
        });
        Ok(DeviceList {
            user_id: found.user_id,
            stream_id: found.stream_id,
            devices: devices.collect(),
            signing_keys: SigningKeys {
                master: found.master_key,
                self_signing: found.self_signing_key,
                user_signing: None,
            },
        })
    }

    async fn ask_keys(
        &self,
        server: &ServerName,
        endpoint: &str,
        body: &serde_json::Value,
        time: Duration,
    ) -> Result<Bytes, RemoteError> {
        let limits = Limits { time, body: BODY_BYTES_MAX };
        let (path, body) = (Path::v1(endpoint).into(), Bytes::from(body.to_string()));
        self.call(server, Method::POST, path, Some(body), limits).await
    }
}

fn of_asked<'a, T>(
    told: ByUser<'a>,
    asked: &BTreeMap<OwnedUserId, T>,
) -> impl Iterator<Item = (OwnedUserId, &'a RawValue)> {
    told.into_iter().filter(|(user, _)| asked.contains_key(user))
}

/// One object that is bad does not spoil the others.
fn signed(object: &RawValue) -> Option<SignedJson> {
    serde_json::from_str(object.get()).ok()
}
