//! When and from where a device was last seen: in memory, written now and then.
//!
//! A request touches this map only; losing a minute of it in a crash costs nothing.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

/// Users noted between two writes; more are not noted.
const USERS_MAX: usize = 100_000;
const DEVICES_PER_USER_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ts: u64,
    pub(crate) ip: Option<IpAddr>,
}

type Noted = HashMap<OwnedUserId, Vec<(OwnedDeviceId, Seen)>>;

#[derive(Debug, Default)]
pub(crate) struct SeenDevices(Mutex<Noted>);

impl SeenDevices {
    pub(crate) fn note(&self, user_id: &UserId, device_id: &DeviceId, seen: Seen) {
        let mut noted = self.0.lock();
        let Some(devices) = noted.get_mut(user_id) else {
            if noted.len() < USERS_MAX {
                noted.insert(user_id.to_owned(), vec![(device_id.to_owned(), seen)]);
            }
            return;
        };
        if let Some((_, latest)) = devices.iter_mut().find(|(id, _)| id == device_id) {
            latest.ts = latest.ts.max(seen.ts);
            latest.ip = seen.ip.or(latest.ip);
        } else if devices.len() < DEVICES_PER_USER_MAX {
            devices.push((device_id.to_owned(), seen));
        }
    }

    pub(crate) fn get(&self, user_id: &UserId, device_id: &DeviceId) -> Option<Seen> {
        let noted = self.0.lock();
        let (_, seen) = noted.get(user_id)?.iter().find(|(id, _)| id == device_id)?;
        Some(*seen)
    }

    pub(crate) fn take(&self) -> Noted {
        std::mem::take(&mut self.0.lock())
    }

    pub(crate) fn forget(&self, user_id: &UserId, device_id: &DeviceId) {
        if let Some(devices) = self.0.lock().get_mut(user_id) {
            devices.retain(|(id, _)| id != device_id);
        }
    }
}
