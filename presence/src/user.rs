//! One user: the devices combined into what others see, and whether a change is worth telling.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use parking_lot::{Mutex, RwLock};
use ruma::{
    DeviceId, OwnedUserId, UInt, UserId, events::presence::PresenceEventContent,
    presence::PresenceState,
};
use smallvec::SmallVec;

use crate::{
    config::Config,
    device::{Device, State, millis},
};

/// What others may see of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// `Online`, `Unavailable` or `Offline`.
    pub presence: PresenceState,
    /// Milliseconds since the epoch.
    pub last_active_ts: Option<u64>,
    pub status_msg: Option<Arc<str>>,
    pub currently_active: bool,
}

impl UserPresence {
    pub fn offline() -> Self {
        Self {
            presence: PresenceState::Offline,
            last_active_ts: None,
            status_msg: None,
            currently_active: false,
        }
    }

    /// The content of an `m.presence` event at `now_ms`.
    pub fn content(&self, now_ms: u64) -> PresenceEventContent {
        let mut content = PresenceEventContent::new(self.presence.clone());
        content.last_active_ago =
            self.last_active_ts.map(|ts| UInt::new_saturating(now_ms.saturating_sub(ts)));
        content.status_msg = self.status_msg.as_deref().map(str::to_owned);
        // Only said of users who are online.
        content.currently_active =
            (self.presence == PresenceState::Online).then_some(self.currently_active);
        content
    }

    /// `currently_active` tells readers not to expect further news of activity: that is what keeps
    /// presence cheap, so activity alone is told at most once in [`Config::active_for`].
    pub(crate) fn is_news_after(&self, told: &Self, config: &Config) -> bool {
        if self.presence != told.presence || self.status_msg != told.status_msg {
            return true;
        }
        let (last, before) = (self.last_active_ts.unwrap_or(0), told.last_active_ts.unwrap_or(0));
        let moved = last > before.saturating_add(millis(config.active_for));
        if self.presence == PresenceState::Online {
            self.currently_active != told.currently_active || (moved && !self.currently_active)
        } else {
            moved
        }
    }
}

pub(crate) struct User {
    pub(crate) id: OwnedUserId,
    devices: RwLock<SmallVec<[Arc<Device>; 2]>>,
    /// Activity that no device in `devices` accounts for.
    last_active: AtomicU64,
    /// Others see this user as online and currently active: more activity is no news.
    pub(crate) told_active: AtomicBool,
    /// Whether `told` holds what the store knows.
    pub(crate) loaded: AtomicBool,
    /// When last-seen was last written, to write it at most once in [`Config::active_for`].
    pub(crate) seen_written: AtomicU64,
    /// The timer tick that will look at this user; 0 for none.
    pub(crate) scheduled: AtomicU64,
    pub(crate) told: Mutex<UserPresence>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

impl User {
    pub(crate) fn new(id: &UserId) -> Self {
        Self {
            id: id.to_owned(),
            devices: RwLock::default(),
            last_active: AtomicU64::new(0),
            told_active: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
            seen_written: AtomicU64::new(0),
            scheduled: AtomicU64::new(0),
            told: Mutex::new(UserPresence::offline()),
        }
    }

    /// Touches a device; `false` if there is no such device.
    pub(crate) fn touch_device(&self, id: &DeviceId, touch: impl FnOnce(&Arc<Device>)) -> bool {
        let devices = self.devices.read();
        let device = devices.iter().find(|device| device.id == id);
        device.map(touch).is_some()
    }

    /// Touches a device, which is created if need be. Devices are only removed under the write
    /// lock and if they are not alive, so what `touch` revives stays.
    pub(crate) fn touch_or_add_device<T>(
        &self,
        id: &DeviceId,
        wanted: State,
        touch: impl Fn(&Arc<Device>) -> T,
    ) -> T {
        {
            let devices = self.devices.read();
            if let Some(device) = devices.iter().find(|device| device.id == id) {
                return touch(device);
            }
        }
        let mut devices = self.devices.write();
        if let Some(device) = devices.iter().find(|device| device.id == id) {
            return touch(device);
        }
        let device = Arc::new(Device::new(id, wanted));
        let touched = touch(&device);
        devices.push(device);
        touched
    }

    pub(crate) fn active(&self, now: u64) {
        self.last_active.fetch_max(now, Relaxed);
    }

    pub(crate) fn forget_dead_devices(&self, now: u64, config: &Config) {
        if self.devices.read().iter().all(|device| device.is_alive(now, config)) {
            return;
        }
        self.devices.write().retain(|device| {
            let alive = device.is_alive(now, config);
            if !alive {
                self.active(device.last_active());
            }
            alive
        });
    }

    pub(crate) fn has_living_device(&self, now: u64, config: &Config) -> bool {
        self.devices.read().iter().any(|device| device.is_alive(now, config))
    }

    pub(crate) fn current(
        &self,
        status_msg: Option<Arc<str>>,
        now: u64,
        config: &Config,
    ) -> UserPresence {
        let devices = self.devices.read();
        let states = devices.iter().map(|device| device.state(now, config));
        let state = states.max().unwrap_or(State::Offline);
        let active = devices.iter().map(|device| device.last_active());
        let last_active = active.max().unwrap_or(0).max(self.last_active.load(Relaxed));
        UserPresence {
            presence: state.to_presence(),
            last_active_ts: (last_active > 0).then_some(last_active),
            status_msg,
            currently_active: state == State::Online
                && last_active > 0
                && now < last_active.saturating_add(millis(config.active_for)),
        }
    }

    /// When [`current`](Self::current) changes if nothing more is heard.
    pub(crate) fn deadline(
        &self,
        current: &UserPresence,
        now: u64,
        config: &Config,
    ) -> Option<u64> {
        let devices = self.devices.read();
        let device = devices.iter().filter_map(|device| device.deadline(now, config)).min();
        let active = (current.currently_active)
            .then_some(current.last_active_ts?.saturating_add(millis(config.active_for)));
        [device, active].into_iter().flatten().min()
    }
}
