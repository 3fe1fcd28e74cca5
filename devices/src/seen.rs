//! When and from where a device was last seen: in memory, written now and then.
//!
//! A request touches this map only; losing a minute of it in a crash costs nothing.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

/// Users noted between two writes; more are not noted.
const USERS_MAX: usize = 100_000;
const DEVICES_PER_USER_MAX: usize = 64;
const USER_AGENT_CHARS_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ts: u64,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
}

/// What a request tells of its device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) ts: u64,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<&'a str>,
}

impl Seen {
    /// A request of a client that calls itself what it did before allocates nothing.
    fn add(&mut self, request: Request<'_>) {
        self.ts = self.ts.max(request.ts);
        self.ip = request.ip.or(self.ip);
        let user_agent = request.user_agent.map(beginning);
        if user_agent.is_some() && user_agent != self.user_agent.as_deref() {
            self.user_agent = user_agent.map(str::to_owned);
        }
    }
}

fn beginning(user_agent: &str) -> &str {
    let end = user_agent.char_indices().nth(USER_AGENT_CHARS_MAX).map(|(end, _)| end);
    &user_agent[..end.unwrap_or(user_agent.len())]
}

type Noted = HashMap<OwnedUserId, Vec<(OwnedDeviceId, Seen)>>;

#[derive(Debug, Default)]
pub(crate) struct SeenDevices(Mutex<Noted>);

impl SeenDevices {
    pub(crate) fn note(&self, user_id: &UserId, device_id: &DeviceId, request: Request<'_>) {
        let first = || {
            let mut seen = Seen { ts: request.ts, ip: None, user_agent: None };
            seen.add(request);
            (device_id.to_owned(), seen)
        };
        let mut noted = self.0.lock();
        let Some(devices) = noted.get_mut(user_id) else {
            if noted.len() < USERS_MAX {
                noted.insert(user_id.to_owned(), vec![first()]);
            }
            return;
        };
        if let Some((_, latest)) = devices.iter_mut().find(|(id, _)| id == device_id) {
            latest.add(request);
        } else if devices.len() < DEVICES_PER_USER_MAX {
            devices.push(first());
        }
    }

    pub(crate) fn get(&self, user_id: &UserId, device_id: &DeviceId) -> Option<Seen> {
        let noted = self.0.lock();
        let (_, seen) = noted.get(user_id)?.iter().find(|(id, _)| id == device_id)?;
        Some(seen.clone())
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
