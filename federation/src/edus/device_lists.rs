//! `m.device_list_update`, `m.signing_key_update`: of users whose devices are followed, or are from
//! now on, since somebody here shares a room with them.

use devices::keys::{DeviceListUpdate, SignedJson, UpdateOutcome};
use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ineffective, TEXT_BYTES_MAX, own, parse};
use crate::{error::Error, inbound::Inbound};

#[derive(Deserialize)]
struct Of {
    user_id: OwnedUserId,
}

#[derive(Deserialize)]
struct Update {
    device_id: OwnedDeviceId,
    stream_id: u64,
    #[serde(default)]
    prev_id: Vec<u64>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    device_display_name: Option<String>,
    #[serde(default)]
    keys: Option<SignedJson>,
}

#[derive(Deserialize)]
struct SigningKeys {
    #[serde(default)]
    master_key: Option<SignedJson>,
    #[serde(default)]
    self_signing_key: Option<SignedJson>,
}

impl Inbound {
    pub(super) async fn receive_device_list_update(
        &self,
        origin: &ServerName,
        content: &RawValue,
    ) -> Result<(), Ineffective> {
        let Of { user_id } = parse(content)?;
        own(origin, &user_id)?;
        let devices = &self.inner.devices;
        let Ok(update) = parse::<Update>(content) else {
            // Something did change, and the whole list may say what.
            devices.mark_remote_list_outdated(&user_id).await.map_err(ours)?;
            return self.fetch_if_shared(&user_id).await;
        };
        if update.device_id.as_str().len() > TEXT_BYTES_MAX {
            return Err("the device's id is too long".to_owned().into());
        }
        let update = DeviceListUpdate {
            user_id: user_id.clone(),
            device_id: update.device_id,
            stream_id: update.stream_id,
            prev_id: update.prev_id,
            deleted: update.deleted,
            display_name: update.device_display_name,
            keys: update.keys,
        };
        match devices.update_remote_device(update).await.map_err(ours)? {
            UpdateOutcome::Applied | UpdateOutcome::Known => Ok(()),
            UpdateOutcome::Gap | UpdateOutcome::NotFollowed => self.fetch_if_shared(&user_id).await,
        }
    }

    pub(super) async fn receive_signing_key_update(
        &self,
        origin: &ServerName,
        content: &RawValue,
    ) -> Result<(), Ineffective> {
        let Of { user_id } = parse(content)?;
        own(origin, &user_id)?;
        let SigningKeys { master_key, self_signing_key } = parse(content)?;
        let devices = &self.inner.devices;
        let known = devices.update_remote_signing_keys(&user_id, master_key, self_signing_key);
        if known.await.map_err(ours)? { Ok(()) } else { self.fetch_if_shared(&user_id).await }
    }

    /// Afterwards: the server that sent the notice does not wait for it.
    async fn fetch_if_shared(&self, user: &UserId) -> Result<(), Ineffective> {
        let lists = &self.inner.device_lists;
        let is_shared = lists.shares_room(user, None).await;
        if is_shared.map_err(|error| Ineffective::Ours(error.into()))? {
            lists.fetch_later(user);
        }
        Ok(())
    }
}

fn ours(error: devices::StoreError) -> Ineffective {
    Ineffective::Ours(Error::from(error))
}
