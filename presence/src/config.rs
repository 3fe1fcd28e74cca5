//! The intervals of presence.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    /// If not, everybody is offline and nothing is kept.
    pub enabled: bool,
    /// Without activity for this long an online device becomes `unavailable`.
    pub idle_after: Duration,
    /// How long a device stays online after its last sync or socket ended.
    pub sync_grace: Duration,
    /// How long a device without an open sync stays online after a heartbeat.
    pub heartbeat_expiry: Duration,
    /// At most one heartbeat of a device counts in this time.
    pub heartbeat_interval: Duration,
    /// For this long after activity a user is `currently_active`.
    pub active_for: Duration,
    /// Changes that are remembered for readers that come back.
    pub changes_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            idle_after: Duration::from_secs(5 * 60),
            sync_grace: Duration::from_secs(30),
            heartbeat_expiry: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(20),
            active_for: Duration::from_secs(60),
            changes_kept: 65_536,
        }
    }
}
