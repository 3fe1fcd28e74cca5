//! `POST /keys/query`: the keys of users' devices, and their cross-signing keys ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::{CanonicalJsonValue, DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use super::{DeviceList, DeviceWithKeys, Failures, KeysQuery, SignedJson, SigningKeys, signed};
use crate::{Devices, StoreError};

/// Keys by user. Device keys have `unsigned.device_display_name` if the device has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysAnswer {
    pub device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, SignedJson>>,
    pub master_keys: BTreeMap<OwnedUserId, SignedJson>,
    pub self_signing_keys: BTreeMap<OwnedUserId, SignedJson>,
    /// Of the user who asks only.
    pub user_signing_keys: BTreeMap<OwnedUserId, SignedJson>,
    pub failures: Failures,
}

impl Devices {
    /// Keys of local and remote users, with the signatures that `requester` may see. Remote users
    /// whose list is followed are answered from the list; servers that do not answer within
    /// `timeout` are named.
    pub async fn query_keys(
        &self,
        requester: &UserId,
        query: KeysQuery,
        timeout: Duration,
    ) -> Result<KeysAnswer, StoreError> {
        let server = requester.server_name();
        let (local, remote): (KeysQuery, KeysQuery) =
            query.into_iter().partition(|(user_id, _)| user_id.server_name() == server);
        let mut answer = self.query_local_keys(&local).await?;
        if local.contains_key(requester) {
            let own = self.inner.store.signing_keys(requester).await?;
            let own = own.user_signing.map(|key| (requester.to_owned(), key));
            answer.user_signing_keys.extend(own);
        }
        self.query_remote(remote, timeout, &mut answer).await?;
        for (user_id, master) in &mut answer.master_keys {
            let signed = self.inner.store.signatures_by(requester, user_id).await?;
            for (object, signatures) in signed {
                let this = signed::object(master, "keys");
                if this.is_some_and(|keys| keys.contains_key(&object)) {
                    for (key_id, signature) in &signatures {
                        signed::add_signature(master, requester, key_id, signature);
                    }
                }
            }
        }
        Ok(answer)
    }

    /// Keys of users of this server, as anybody may see them.
    pub async fn query_local_keys(&self, query: &KeysQuery) -> Result<KeysAnswer, StoreError> {
        let mut answer = KeysAnswer::default();
        for (user_id, wanted) in query {
            let devices = match wanted.as_slice() {
                [device_id] => {
                    self.device_with_keys(user_id, device_id).await?.into_iter().collect()
                }
                _ => self.devices_with_keys(user_id).await?,
            };
            let keys = self.inner.store.signing_keys(user_id).await?;
            answer.add(user_id, wanted, devices, keys);
        }
        Ok(answer)
    }

    /// The devices of a user of this server, for other servers.
    pub async fn device_list(&self, user_id: &UserId) -> Result<DeviceList, StoreError> {
        // Read first: who has a list with an older number than it deserves asks once more.
        let stream_id = self.inner.store.list_position(user_id).await?.stream_id;
        let mut signing_keys = self.inner.store.signing_keys(user_id).await?;
        signing_keys.user_signing = None;
        let devices = self.devices_with_keys(user_id).await?;
        Ok(DeviceList { user_id: user_id.to_owned(), stream_id, devices, signing_keys })
    }

    /// One device of a user of this server, as it is now.
    pub async fn device_with_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<DeviceWithKeys>, StoreError> {
        let Some(device) = self.inner.store.device(user_id, device_id).await? else {
            return Ok(None);
        };
        let keys = self.inner.store.device_keys(user_id, device_id).await?;
        Ok(Some(DeviceWithKeys {
            device_id: device.device_id,
            display_name: device.display_name,
            keys,
        }))
    }

    /// The cross-signing keys of a user, local or followed, `user_signing` included.
    pub async fn signing_keys(&self, user_id: &UserId) -> Result<SigningKeys, StoreError> {
        self.inner.store.signing_keys(user_id).await
    }

    async fn devices_with_keys(&self, user_id: &UserId) -> Result<Vec<DeviceWithKeys>, StoreError> {
        let mut keys = self.inner.store.all_device_keys(user_id).await?;
        let devices = self.inner.store.devices(user_id).await?;
        let devices = devices.into_iter().map(|device| {
            let keys = keys.remove(&device.device_id);
            DeviceWithKeys { device_id: device.device_id, display_name: device.display_name, keys }
        });
        Ok(devices.collect())
    }
}

impl KeysAnswer {
    /// Adds what is known of a user, as far as it was asked for.
    pub(super) fn add(
        &mut self,
        user_id: &UserId,
        wanted: &[OwnedDeviceId],
        devices: Vec<DeviceWithKeys>,
        signing_keys: SigningKeys,
    ) {
        let of_user = self.device_keys.entry(user_id.to_owned()).or_default();
        let wanted: BTreeSet<&OwnedDeviceId> = wanted.iter().collect();
        let is_wanted = |id: &OwnedDeviceId| wanted.is_empty() || wanted.contains(id);
        for device in devices.into_iter().filter(|device| is_wanted(&device.device_id)) {
            let DeviceWithKeys { device_id, display_name, keys: Some(mut keys) } = device else {
                continue;
            };
            let mut unsigned = SignedJson::new();
            if let Some(name) = display_name {
                unsigned.insert("device_display_name".to_owned(), CanonicalJsonValue::String(name));
            }
            keys.insert("unsigned".to_owned(), CanonicalJsonValue::Object(unsigned));
            of_user.insert(device_id, keys);
        }
        let SigningKeys { master, self_signing, .. } = signing_keys;
        self.master_keys.extend(master.map(|key| (user_id.to_owned(), key)));
        self.self_signing_keys.extend(self_signing.map(|key| (user_id.to_owned(), key)));
    }
}
