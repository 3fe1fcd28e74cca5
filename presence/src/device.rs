//! One device: its signs of life, in atomics, and the rules that turn them into a state.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use ruma::{DeviceId, OwnedDeviceId, presence::PresenceState};

use crate::config::Config;

/// Ordered: a user is what their most available device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Offline,
    Unavailable,
    Online,
}

impl State {
    /// `None` for what the specification does not know.
    pub(crate) fn parse(presence: &PresenceState) -> Option<Self> {
        match presence {
            PresenceState::Offline => Some(Self::Offline),
            PresenceState::Unavailable => Some(Self::Unavailable),
            PresenceState::Online => Some(Self::Online),
            _ => None,
        }
    }

    pub(crate) fn to_presence(self) -> PresenceState {
        match self {
            Self::Offline => PresenceState::Offline,
            Self::Unavailable => PresenceState::Unavailable,
            Self::Online => PresenceState::Online,
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Offline,
            1 => Self::Unavailable,
            _ => Self::Online,
        }
    }
}

/// Times are milliseconds since the epoch; 0 is never.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: OwnedDeviceId,
    /// What the device wants to be; what it is depends on its signs of life.
    wanted: AtomicU8,
    open_syncs: AtomicU32,
    sync_ended: AtomicU64,
    heartbeat: AtomicU64,
    last_active: AtomicU64,
}

impl Device {
    pub(crate) fn new(id: &DeviceId, wanted: State) -> Self {
        Self {
            id: id.to_owned(),
            wanted: AtomicU8::new(wanted as u8),
            open_syncs: AtomicU32::new(0),
            sync_ended: AtomicU64::new(0),
            heartbeat: AtomicU64::new(0),
            last_active: AtomicU64::new(0),
        }
    }

    pub(crate) fn last_active(&self) -> u64 {
        self.last_active.load(Relaxed)
    }

    fn wanted(&self) -> State {
        State::from_u8(self.wanted.load(Relaxed))
    }

    pub(crate) fn sync_opened(&self, wanted: State, now: u64) {
        self.open_syncs.fetch_add(1, Relaxed);
        self.wanted.store(wanted as u8, Relaxed);
        // A client in the foreground polls with `online`, one in the background with
        // `unavailable`: so this is activity.
        if wanted == State::Online {
            self.last_active.fetch_max(now, Relaxed);
        }
    }

    pub(crate) fn sync_closed(&self, now: u64) {
        self.sync_ended.fetch_max(now, Relaxed);
        self.open_syncs.fetch_sub(1, Relaxed);
    }

    /// Whether the heartbeat counts: at most one does per interval.
    pub(crate) fn heartbeat(&self, active: bool, now: u64, config: &Config) -> bool {
        let last = self.heartbeat.load(Relaxed);
        if now < last.saturating_add(millis(config.heartbeat_interval)) {
            return false;
        }
        // Of two at the same time one counts.
        if self.heartbeat.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            return false;
        }
        // Who chose to be offline stays so until they choose otherwise.
        if self.wanted() != State::Offline {
            let wanted = if active { State::Online } else { State::Unavailable };
            self.wanted.store(wanted as u8, Relaxed);
            if active {
                self.last_active.fetch_max(now, Relaxed);
            }
        }
        true
    }

    pub(crate) fn set(&self, wanted: State, now: u64) {
        self.wanted.store(wanted as u8, Relaxed);
        if wanted != State::Offline {
            self.heartbeat.fetch_max(now, Relaxed);
        }
        if wanted == State::Online {
            self.last_active.fetch_max(now, Relaxed);
        }
    }

    pub(crate) fn event_sent(&self, now: u64) {
        self.last_active.fetch_max(now, Relaxed);
        if self.wanted() == State::Unavailable {
            self.wanted.store(State::Online as u8, Relaxed);
        }
    }

    fn alive_until(&self, config: &Config) -> u64 {
        if self.open_syncs.load(Relaxed) > 0 {
            return u64::MAX;
        }
        let after = |since: u64, time| if since == 0 { 0 } else { since.saturating_add(time) };
        let grace = after(self.sync_ended.load(Relaxed), millis(config.sync_grace));
        grace.max(after(self.heartbeat.load(Relaxed), millis(config.heartbeat_expiry)))
    }

    pub(crate) fn is_alive(&self, now: u64, config: &Config) -> bool {
        now < self.alive_until(config)
    }

    pub(crate) fn state(&self, now: u64, config: &Config) -> State {
        if !self.is_alive(now, config) {
            return State::Offline;
        }
        match self.wanted() {
            State::Online if now >= self.idle_at(config) => State::Unavailable,
            wanted => wanted,
        }
    }

    fn idle_at(&self, config: &Config) -> u64 {
        self.last_active().saturating_add(millis(config.idle_after))
    }

    /// When the state changes if nothing more is heard; `None` for never.
    pub(crate) fn deadline(&self, now: u64, config: &Config) -> Option<u64> {
        let alive_until = self.alive_until(config);
        let deadline = match self.state(now, config) {
            State::Offline if now >= alive_until => return None,
            State::Online => alive_until.min(self.idle_at(config)),
            State::Offline | State::Unavailable => alive_until,
        };
        (deadline != u64::MAX).then_some(deadline)
    }
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
