//! Forgets users who have not been connected for a while, and rooms that nobody watches.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::sleep;

use super::Hub;
use crate::changes::UserMark;

pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        sleep(hub.config.sweep_interval).await;
        hub.sweep();
    }
}

impl Hub {
    fn sweep(&self) {
        // Between two groups of facts: none may bring a user's rooms back after they were let go.
        let _epoch = self.epoch.read();
        let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        let mut users = self.users.write();
        // More users than there is room for: those seen longest ago have to go earlier.
        let crowded = users.len() > self.config.users_kept;
        let keep_for = if crowded { 1 } else { self.config.sweeps_kept };
        let oldest_kept = sweep.saturating_sub(keep_for);
        users.retain(|_, user| {
            let keep = user.leases.load(Ordering::Acquire) > 0
                || user.last_used.load(Ordering::Relaxed) >= oldest_kept;
            if !keep {
                stop_watching(user);
            }
            keep
        });
        drop(users);
        self.rooms.write().retain(|_, room| room.is_watched());
    }
}

/// Breaks the cycle between a user's mark and those of their rooms.
fn stop_watching(user: &UserMark) {
    for (_, membership) in std::mem::take(&mut *user.memberships.write()) {
        if let Some(room) = membership.room {
            room.unwatch(&user.user_id);
        }
    }
}
