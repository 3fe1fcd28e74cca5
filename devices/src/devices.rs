//! The list of a user's devices.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ruma::{DeviceId, OwnedDeviceId, UserId};
use stdx::{Rng, SharedClock, Tasks};
use storage::Store;
use tokio::{sync::Mutex, time::MissedTickBehavior};

use crate::{
    StoreError,
    keys::{DEVICES_MAX, RemoteKeys},
    seen::{Request, Seen, SeenDevices},
    store::DeviceStore,
};

const DEVICE_ID_BYTES_MAX: usize = 255;
const DISPLAY_NAME_CHARS_MAX: usize = 100;
const DRAWN_ID_CHARS: usize = 10;
const FLUSH_SEEN: Duration = Duration::from_secs(60);
/// Changes of one user's devices pass one lock; users share this many.
const LOCKS: usize = 64;

/// All devices of local users. Cheap to clone.
#[derive(Clone)]
pub struct Devices {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: DeviceStore,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) remote_keys: parking_lot::RwLock<Option<Arc<dyn RemoteKeys>>>,
    seen: SeenDevices,
    hasher: RandomState,
    locks: Vec<Mutex<()>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub device_id: OwnedDeviceId,
    pub display_name: Option<String>,
    pub created_ts: u64,
    pub last_seen_ip: Option<IpAddr>,
    pub last_seen_ts: Option<u64>,
    /// What the client calls itself; the beginning of it.
    pub last_seen_user_agent: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("there is no such device")]
    NotFound,
    /// M_INVALID_PARAM.
    #[error("{0}")]
    Invalid(&'static str),
    #[error("there are {DEVICES_MAX} devices already: log some of them out")]
    TooMany,
    /// "The requested device ID is the same as a cross-signing key ID": M_FORBIDDEN.
    #[error("a cross-signing key has the name of the device")]
    IsSigningKey,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Devices {
    /// Spawns the task that writes when devices were last seen.
    pub fn new(store: Store, clock: SharedClock, rng: Rng, tasks: &Tasks) -> Self {
        let devices = Self {
            inner: Arc::new(Inner {
                store: DeviceStore(store),
                clock,
                rng,
                remote_keys: parking_lot::RwLock::default(),
                seen: SeenDevices::default(),
                hasher: RandomState::new(),
                locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            }),
        };
        tasks.spawn_until_stopped("devices last seen", devices.clone().write_seen());
        devices
    }

    async fn write_seen(self) {
        let mut interval = tokio::time::interval(FLUSH_SEEN);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.flush_seen().await {
                tracing::warn!(%error, "when devices were last seen was not written");
            }
        }
    }

    /// The device to log in with: the one named, created if it does not exist, or a new one.
    /// `display_name` is only used for a new device.
    pub async fn ensure(
        &self,
        user_id: &UserId,
        device_id: Option<&DeviceId>,
        display_name: Option<&str>,
    ) -> Result<OwnedDeviceId, DeviceError> {
        if let Some(device_id) = device_id {
            check_device_id(device_id)?;
        }
        check_display_name(display_name)?;
        let inner = &self.inner;
        let device_id = device_id.map_or_else(|| inner.draw_device_id(), DeviceId::to_owned);
        let created = {
            let _lock = inner.lock(user_id).await;
            if inner.store.latest(user_id, &device_id).await?.is_some() {
                None
            } else {
                if self.is_signing_key(user_id, &device_id).await? {
                    return Err(DeviceError::IsSigningKey);
                }
                let device = Device {
                    device_id: device_id.clone(),
                    display_name: display_name.map(str::to_owned),
                    created_ts: inner.clock.now_ms(),
                    last_seen_ip: None,
                    last_seen_ts: None,
                    last_seen_user_agent: None,
                };
                let devices = inner.store.device_count(user_id).await?;
                if devices >= DEVICES_MAX as u64 {
                    return Err(DeviceError::TooMany);
                }
                Some(inner.store.create(user_id, &device, devices).await?)
            }
        };
        match created {
            Some(created) => drop(created.await.map_err(StoreError::from)?),
            // It may have been created by a request that is not answered yet.
            None => inner.store.barrier().await?,
        }
        Ok(device_id)
    }

    pub async fn list(&self, user_id: &UserId) -> Result<Vec<Device>, StoreError> {
        let mut devices = self.inner.store.devices(user_id).await?;
        devices.iter_mut().for_each(|device| self.inner.add_seen(user_id, device));
        Ok(devices)
    }

    pub async fn get(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        let mut device = self.inner.store.device(user_id, device_id).await?;
        device.iter_mut().for_each(|device| self.inner.add_seen(user_id, device));
        Ok(device)
    }

    pub async fn rename(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        display_name: Option<&str>,
    ) -> Result<(), DeviceError> {
        check_display_name(display_name)?;
        let inner = &self.inner;
        let renamed = {
            let _lock = inner.lock(user_id).await;
            let Some(mut device) = inner.store.latest(user_id, device_id).await? else {
                return Err(DeviceError::NotFound);
            };
            device.display_name = display_name.map(str::to_owned);
            inner.store.update(user_id, &device, true).await?
        };
        renamed.await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Deletes the device and the messages that wait for it. `false` if there was none.
    pub async fn delete(&self, user_id: &UserId, device_id: &DeviceId) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let deleted = {
            let _lock = inner.lock(user_id).await;
            if inner.store.latest(user_id, device_id).await?.is_none() {
                return Ok(false);
            }
            inner.seen.forget(user_id, device_id);
            let devices = inner.store.device_count(user_id).await?;
            inner.store.delete(user_id, device_id, devices).await?
        };
        deleted.await?;
        // What one batch did not hold, and what was sent meanwhile.
        inner.store.delete_messages(user_id, device_id, u64::MAX).await?;
        Ok(true)
    }

    /// Notes that the device made a request. Touches memory only.
    pub fn seen(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        ip: Option<IpAddr>,
        user_agent: Option<&str>,
    ) {
        let ts = self.inner.clock.now_ms();
        self.inner.seen.note(user_id, device_id, Request { ts, ip, user_agent });
    }

    /// Writes what [`seen`](Self::seen) noted. Runs every minute by itself; call it before a
    /// planned end.
    pub async fn flush_seen(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        for (user_id, devices) in inner.seen.take() {
            let _lock = inner.lock(&user_id).await;
            for (device_id, seen) in devices {
                let Some(mut device) = inner.store.latest(&user_id, &device_id).await? else {
                    continue;
                };
                device.apply_seen(seen);
                drop(inner.store.update(&user_id, &device, false).await?);
            }
        }
        inner.store.barrier().await
    }
}

impl Device {
    fn apply_seen(&mut self, seen: Seen) {
        self.last_seen_ts = self.last_seen_ts.max(Some(seen.ts));
        self.last_seen_ip = seen.ip.or(self.last_seen_ip);
        self.last_seen_user_agent = seen.user_agent.or(self.last_seen_user_agent.take());
    }
}

impl Inner {
    pub(crate) async fn lock(&self, user_id: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        self.locks[self.hasher.hash_one(user_id) as usize % LOCKS].lock().await
    }

    fn add_seen(&self, user_id: &UserId, device: &mut Device) {
        if let Some(seen) = self.seen.get(user_id, &device.device_id) {
            device.apply_seen(seen);
        }
    }

    /// Upper case, since people read them to one another.
    fn draw_device_id(&self) -> OwnedDeviceId {
        let letter = |_| char::from(b'A' + u8::try_from(self.rng.below(26)).unwrap_or(0));
        (0..DRAWN_ID_CHARS).map(letter).collect::<String>().into()
    }
}

fn check_device_id(device_id: &DeviceId) -> Result<(), DeviceError> {
    let id = device_id.as_str();
    if id.is_empty() || id.len() > DEVICE_ID_BYTES_MAX {
        return Err(DeviceError::Invalid("a device id has 1 to 255 bytes"));
    }
    if id == "*" || id.chars().any(char::is_control) {
        return Err(DeviceError::Invalid("this device id is not allowed"));
    }
    Ok(())
}

fn check_display_name(display_name: Option<&str>) -> Result<(), DeviceError> {
    if display_name.is_some_and(|name| name.chars().count() > DISPLAY_NAME_CHARS_MAX) {
        return Err(DeviceError::Invalid("a device's name has at most 100 characters"));
    }
    Ok(())
}
