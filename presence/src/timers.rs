//! A wheel of one-second slots: when a user has to be looked at again.
//!
//! Lazy: a heartbeat that pushes a deadline back does not touch the wheel. The timer fires at the
//! old deadline, finds nothing due and is set anew.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::user::User;

/// Longer than any interval of the default configuration; a later deadline fires early and is set
/// again.
const SLOTS: u64 = 512;
/// The clock may step back this far and the wheel just waits for it; more, and it is wound again.
const BACKSTEP_TICKS: u64 = 5;
const TICK_MS: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Arc<User>>>,
    /// The last tick whose slot was emptied.
    now: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now: now_ms / TICK_MS }
    }

    pub(crate) fn schedule(&mut self, user: &Arc<User>, deadline_ms: u64) {
        let tick = deadline_ms.div_ceil(TICK_MS).clamp(self.now + 1, self.now + SLOTS - 1);
        let scheduled = user.scheduled.load(Relaxed);
        if scheduled > self.now && scheduled <= tick {
            return;
        }
        user.scheduled.store(tick, Relaxed);
        self.slots[(tick % SLOTS) as usize].push(Arc::clone(user));
    }

    /// Takes out who is due.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<Arc<User>>) {
        let target = now_ms / TICK_MS;
        let rewind = target.saturating_add(BACKSTEP_TICKS) < self.now;
        if target <= self.now && !rewind {
            return;
        }
        if rewind || target - self.now >= SLOTS {
            self.slots.iter_mut().for_each(|slot| due.append(slot));
        } else {
            for tick in self.now + 1..=target {
                due.append(&mut self.slots[(tick % SLOTS) as usize]);
            }
        }
        self.now = target;
        for user in due {
            let scheduled = user.scheduled.load(Relaxed);
            if rewind || scheduled <= target {
                user.scheduled.store(0, Relaxed);
            }
        }
    }
}
