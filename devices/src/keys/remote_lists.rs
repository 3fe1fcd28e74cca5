//! Lists of other servers' users' devices, as far as they are followed: kept up to date by their
//! server's updates, and marked as outdated where one is missing.
//!
//! Who is followed is decided by whoever knows the rooms; this keeps what it is told.

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use tokio::sync::MutexGuard;

use super::{
    DEVICES_MAX, DeviceList, DeviceWithKeys, KeysError, SignedJson, SigningKeys, remote::believed,
    signed::check_remote_device_keys,
};
use crate::{Devices, StoreError};

/// Times that the disk is waited for without the lock.
const ATTEMPTS: usize = 3;

/// How far a followed list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteList {
    /// Of the newest update that was applied.
    pub stream_id: u64,
    /// An update is missing: the list is not used until it was fetched again.
    pub outdated: bool,
}

/// An `m.device_list_update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceListUpdate {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    pub stream_id: u64,
    pub prev_id: Vec<u64>,
    pub deleted: bool,
    pub display_name: Option<String>,
    pub keys: Option<SignedJson>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    Applied,
    /// It is not newer than what is known.
    Known,
    /// Updates before it are missing, or the list is outdated anyway: it is to be fetched, and
    /// marked so.
    Gap,
    NotFollowed,
}

impl Devices {
    /// `None` if the user's list is not followed.
    pub async fn remote_list(&self, user_id: &UserId) -> Result<Option<RemoteList>, StoreError> {
        self.inner.store.remote_list(user_id).await
    }

    /// Follows the user from this list on. Device keys that are not what they say are dropped. Local
    /// users are told ([`REMOTE_DEVICE_LIST`](crate::stream::REMOTE_DEVICE_LIST)) if anything
    /// changed.
    pub async fn keep_remote_list(&self, list: DeviceList) -> Result<(), KeysError> {
        if list.devices.len() > DEVICES_MAX {
            return Err(KeysError::TooLarge("too many devices"));
        }
        let mut list = list;
        let user_id = list.user_id.clone();
        let SigningKeys { master, self_signing, .. } = list.signing_keys;
        list.signing_keys = believed(&user_id, master, self_signing);
        list.devices.iter_mut().for_each(|device| check(device, &user_id));
        list.devices.sort_by(|a, b| a.device_id.cmp(&b.device_id));
        list.devices.dedup_by(|a, b| a.device_id == b.device_id);
        let pending = {
            let _lock = self.lock_durable_list(&user_id).await?;
            self.inner.store.replace_remote_list(&list).await?
        };
        pending.await?;
        Ok(())
    }

    /// Whether the update comes from the user's server is checked before.
    pub async fn update_remote_device(
        &self,
        update: DeviceListUpdate,
    ) -> Result<UpdateOutcome, StoreError> {
        let (store, user_id) = (&self.inner.store, &update.user_id);
        let (outcome, pending) = {
            let _lock = self.inner.lock(user_id).await;
            let Some(list) = store.latest_remote_list(user_id).await? else {
                return Ok(UpdateOutcome::NotFollowed);
            };
            if list.outdated {
                return Ok(UpdateOutcome::Gap);
            }
            if update.stream_id <= list.stream_id {
                return Ok(UpdateOutcome::Known);
            }
            let known = |id: &u64| *id <= list.stream_id;
            let follows = !update.prev_id.is_empty() && update.prev_id.iter().all(known);
            // One device at a time, a list could grow without end: a whole one has a bound.
            let is_full = !update.deleted
                && store.count_remote_devices(user_id, DEVICES_MAX).await? >= DEVICES_MAX;
            if !follows || is_full {
                (UpdateOutcome::Gap, store.put_outdated(user_id, list.stream_id)?)
            } else {
                let DeviceListUpdate { device_id, display_name, keys, .. } = update.clone();
                let mut device = DeviceWithKeys { device_id, display_name, keys };
                check(&mut device, user_id);
                let stream_id = update.stream_id;
                let pending =
                    store.put_remote_device(user_id, stream_id, &device, update.deleted).await?;
                (UpdateOutcome::Applied, pending)
            }
        };
        pending.await?;
        Ok(outcome)
    }

    /// An `m.signing_key_update` of a followed user. A key that is left out stays, unless the master
    /// key is another one. Returns whether the user is followed.
    pub async fn update_remote_signing_keys(
        &self,
        user_id: &UserId,
        master: Option<SignedJson>,
        self_signing: Option<SignedJson>,
    ) -> Result<bool, StoreError> {
        let store = &self.inner.store;
        let pending = {
            let _lock = self.inner.lock(user_id).await;
            if store.latest_remote_list(user_id).await?.is_none() {
                return Ok(false);
            }
            let before = store.latest_signing_keys(user_id).await?;
            let master = master.or_else(|| before.master.clone());
            let self_signing = self_signing.or_else(|| before.self_signing.clone());
            let keys = believed(user_id, master, self_signing);
            if keys == before {
                return Ok(true);
            }
            store.put_remote_signing_keys(user_id, &keys).await?
        };
        pending.await.map_err(StoreError::from)?;
        Ok(true)
    }

    /// Until [`keep_remote_list`](Self::keep_remote_list), the user's server is asked for keys.
    /// Nothing happens if the user is not followed.
    pub async fn mark_remote_list_outdated(&self, user_id: &UserId) -> Result<(), StoreError> {
        let pending = {
            let _lock = self.inner.lock(user_id).await;
            let list = self.inner.store.latest_remote_list(user_id).await?;
            let Some(list) = list.filter(|list| !list.outdated) else { return Ok(()) };
            self.inner.store.put_outdated(user_id, list.stream_id)?
        };
        pending.await?;
        Ok(())
    }

    /// Users after `after` whose lists are to be fetched again, in the order of their ids.
    pub async fn outdated_remote_lists(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        self.inner.store.outdated_lists(after, limit).await
    }

    /// No room is shared with the user any more.
    pub async fn forget_remote_list(&self, user_id: &UserId) -> Result<(), StoreError> {
        let pending = {
            let _lock = self.lock_durable_list(user_id).await?;
            if self.inner.store.remote_list(user_id).await?.is_none() {
                return Ok(());
            }
            self.inner.store.forget_remote_list(user_id).await?
        };
        pending.await?;
        Ok(())
    }

    /// The user's lock, at a moment when nothing of the list is on its way to the disk: a list is
    /// replaced as a whole by what is read from there. The lock, which other users share, is given
    /// back while the disk is waited for, unless the list changes each time.
    async fn lock_durable_list(&self, user_id: &UserId) -> Result<MutexGuard<'_, ()>, StoreError> {
        let store = &self.inner.store;
        for _ in 0..ATTEMPTS {
            let lock = self.inner.lock(user_id).await;
            if store.is_remote_list_durable(user_id).await? {
                return Ok(lock);
            }
            drop(lock);
            store.barrier().await?;
        }
        let lock = self.inner.lock(user_id).await;
        store.barrier().await?;
        Ok(lock)
    }
}

/// A device whose keys are not its own counts as one without keys.
fn check(device: &mut DeviceWithKeys, user_id: &UserId) {
    let id = device.device_id.as_str();
    if device.keys.as_ref().is_some_and(|keys| check_remote_device_keys(keys, user_id, id).is_err())
    {
        device.keys = None;
    }
    if let Some(keys) = &mut device.keys {
        keys.remove("unsigned");
    }
    if let Some(name) = &mut device.display_name {
        // Names are for people; a server may send any length.
        *name = name.chars().take(100).collect();
    }
}
