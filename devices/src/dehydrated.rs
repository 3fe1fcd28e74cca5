//! The dehydrated device of a user (MSC3814): nobody is logged in with it, so that it can be sent
//! keys while all others are away. Whoever can decrypt what was stored with it becomes that device.

use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde_json::value::RawValue;
use storage::Position;

use crate::{
    DeviceError, Devices, StoreError,
    keys::{KeysError, KeysUpload},
    store::DehydratedRecord,
};

const DEVICE_DATA_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct DehydratedDevice {
    pub device_id: OwnedDeviceId,
    /// A JSON object, of which only clients know more.
    pub device_data: Box<RawValue>,
}

#[derive(Debug)]
pub struct NewDehydratedDevice<'a> {
    pub device_id: &'a DeviceId,
    pub device_data: &'a RawValue,
    pub display_name: Option<&'a str>,
    pub keys: KeysUpload,
}

/// Messages to the dehydrated device, and where to go on if there are more.
#[derive(Debug)]
pub struct DehydratedMessages {
    pub events: Vec<Bytes>,
    pub last: Option<Position>,
    pub has_more: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DehydratedError {
    #[error("a device of this id exists")]
    DeviceExists,
    #[error("a dehydrated device comes with its identity keys")]
    NoKeys,
    #[error("device_data must be a JSON object of at most 64 KiB")]
    BadData,
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Devices {
    pub async fn dehydrated_device(
        &self,
        user_id: &UserId,
    ) -> Result<Option<DehydratedDevice>, StoreError> {
        let record = self.inner.store.dehydrated(user_id).await?;
        Ok(record.and_then(|DehydratedRecord { device_id, device_data }| {
            let device_data = RawValue::from_string(device_data).ok()?;
            Some(DehydratedDevice { device_id, device_data })
        }))
    }

    /// Takes the place of the one before.
    pub async fn set_dehydrated_device(
        &self,
        user_id: &UserId,
        new: NewDehydratedDevice<'_>,
    ) -> Result<(), DehydratedError> {
        let NewDehydratedDevice { device_id, device_data, display_name, keys } = new;
        let data = device_data.get();
        if data.len() > DEVICE_DATA_BYTES_MAX || !data.starts_with('{') {
            return Err(DehydratedError::BadData);
        }
        if keys.device_keys.is_none() {
            return Err(DehydratedError::NoKeys);
        }
        // Before a device is made, of which others are told, and another one is deleted for it.
        keys.check_for_new(user_id, device_id)?;
        let store = &self.inner.store;
        if self.get(user_id, device_id).await?.is_some() {
            let current = store.dehydrated(user_id).await?;
            if current.is_none_or(|current| current.device_id != device_id) {
                return Err(DehydratedError::DeviceExists);
            }
            self.delete(user_id, device_id).await?;
        }
        self.ensure(user_id, Some(device_id), display_name).await?;
        if let Err(error) = self.upload_keys(user_id, device_id, keys).await {
            self.delete(user_id, device_id).await?;
            return Err(error.into());
        }
        let record =
            DehydratedRecord { device_id: device_id.to_owned(), device_data: data.to_owned() };
        let (previous, kept) = {
            let _lock = self.inner.lock(user_id).await;
            let previous = store.latest_dehydrated(user_id).await?;
            (previous, store.put_dehydrated(user_id, &record)?)
        };
        kept.await.map_err(StoreError::from)?;
        if let Some(previous) = previous
            && previous.device_id != device_id
        {
            self.delete(user_id, &previous.device_id).await?;
        }
        Ok(())
    }

    /// Deletes it as any device. `None` if there was none.
    pub async fn delete_dehydrated_device(
        &self,
        user_id: &UserId,
    ) -> Result<Option<OwnedDeviceId>, StoreError> {
        let Some(record) = self.inner.store.dehydrated(user_id).await? else { return Ok(None) };
        self.delete(user_id, &record.device_id).await?;
        Ok(Some(record.device_id))
    }

    /// What waits for the dehydrated device after `after`. Nothing is deleted: whoever becomes the
    /// device may fail, and another try again. `None` if the device is not the dehydrated one.
    pub async fn dehydrated_messages(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        after: Position,
        limit: usize,
    ) -> Result<Option<DehydratedMessages>, StoreError> {
        let store = &self.inner.store;
        let record = store.dehydrated(user_id).await?;
        if record.is_none_or(|record| record.device_id != device_id) {
            return Ok(None);
        }
        let up_to = store.0.log().position();
        let messages = self.to_device(user_id, device_id, after, up_to, limit).await?;
        let last = messages.last().map(|(position, _)| *position);
        let has_more = messages.len() == limit;
        let events = messages.into_iter().map(|(_, event)| event).collect();
        Ok(Some(DehydratedMessages { events, last, has_more }))
    }
}
