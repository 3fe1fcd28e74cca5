//! Who was asked for keys, and when: strangers choose whose keys are looked for, and must not
//! choose how often.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Servers that are remembered.
const SERVERS_MAX: usize = 65_536;

struct Attempt {
    at: u64,
    failed: bool,
}

#[derive(Default)]
pub(super) struct Attempts {
    last: Mutex<HashMap<OwnedServerName, Attempt>>,
    /// Under way: one for each server.
    turns: Mutex<HashMap<OwnedServerName, Arc<AsyncMutex<()>>>>,
}

/// Nobody else asks the server until this is dropped.
#[must_use = "the next one asks when this is dropped"]
pub(super) struct Turn<'a> {
    attempts: &'a Attempts,
    server: &'a ServerName,
    turn: Option<Arc<AsyncMutex<()>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Attempts {
    pub(super) async fn turn<'a>(&'a self, server: &'a ServerName) -> Turn<'a> {
        let turn = Arc::clone(self.turns.lock().entry(server.to_owned()).or_default());
        // Made before the wait, so that one who waits no longer leaves nothing behind either.
        let (shared, guard) = (Some(Arc::clone(&turn)), None);
        let mut entered = Turn { attempts: self, server, turn: shared, guard };
        entered.guard = Some(turn.lock_owned().await);
        entered
    }

    /// Whether the last attempt is `pause` milliseconds ago. The clock may have been put back since.
    pub(super) fn may_ask(&self, server: &ServerName, now: u64, pause: u64) -> bool {
        let last = self.last.lock();
        last.get(server).is_none_or(|attempt| attempt.at.abs_diff(now) >= pause)
    }

    pub(super) fn note(&self, server: &ServerName, at: u64, failed: bool) {
        let mut last = self.last.lock();
        if last.len() >= SERVERS_MAX && !last.contains_key(server) {
            last.clear();
        }
        last.insert(server.to_owned(), Attempt { at, failed });
    }

    /// An attempt that failed is forgotten: the server is there again.
    pub(super) fn forgive(&self, server: &ServerName) {
        let mut last = self.last.lock();
        if last.get(server).is_some_and(|attempt| attempt.failed) {
            last.remove(server);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.attempts.turns.lock();
        self.guard = None;
        self.turn = None;
        if turns.get(self.server).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(self.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::server_name;

    use super::Attempts;

    #[tokio::test]
    async fn those_who_wait_take_turns_and_leave_nothing_behind() {
        let attempts = Attempts::default();
        let server = server_name!("a.test");
        let first = attempts.turn(server).await;
        let gives_up = tokio::time::timeout(Duration::from_millis(1), attempts.turn(server)).await;
        assert!(gives_up.is_err(), "there is one at a time");
        let elsewhere = attempts.turn(server_name!("b.test")).await;
        drop(first);
        drop(attempts.turn(server).await);
        drop(elsewhere);
        assert!(attempts.turns.lock().is_empty());
    }

    #[test]
    fn contact_ends_a_silence_and_no_pause() {
        let attempts = Attempts::default();
        let (down, up) = (server_name!("down.test"), server_name!("up.test"));
        attempts.note(down, 1000, true);
        attempts.note(up, 1000, false);
        assert!(!attempts.may_ask(down, 1500, 1000) && !attempts.may_ask(up, 1500, 1000));
        attempts.forgive(down);
        attempts.forgive(up);
        assert!(attempts.may_ask(down, 1500, 1000));
        assert!(!attempts.may_ask(up, 1500, 1000), "each of its requests would cost one of ours");
        assert!(attempts.may_ask(up, 2000, 1000));
    }
}
