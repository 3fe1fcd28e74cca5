//! Who was asked for keys, and when: strangers choose whose keys are looked for, and must not
//! choose how often.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Servers that are remembered.
const SERVERS_MAX: usize = 65_536;

/// A server is not asked again for so long, whatever it answered: anybody can name a key that it
/// does not have. One that did not answer is, if it makes contact.
const PAUSE_MS: u64 = 60 * 1000;
/// Strangers may have a server asked so many times at once, and then once in so long. One that did
/// not answer is left alone for that time.
const STRANGERS_BURST: u64 = 4;
const STRANGERS_PAUSE_MS: u64 = 5 * 60 * 1000;

/// For whom a server would be asked.
#[derive(Clone, Copy)]
pub(super) enum Asks {
    /// An event or a request is to be verified here.
    Verification,
    /// This server is a notary for somebody who need not be known.
    Stranger,
}

struct Attempt {
    at: u64,
    failed: bool,
    /// When what strangers have asked for is used up, at one attempt in [`STRANGERS_PAUSE_MS`].
    strangers_until: u64,
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

    /// The clock may have been put back since the last attempt.
    pub(super) fn may_ask(&self, server: &ServerName, now: u64, asks: Asks) -> bool {
        let last = self.last.lock();
        let Some(attempt) = last.get(server) else { return true };
        let since = attempt.at.abs_diff(now);
        match asks {
            Asks::Verification => since >= PAUSE_MS,
            Asks::Stranger if attempt.failed || attempt.at > now => since >= STRANGERS_PAUSE_MS,
            Asks::Stranger => {
                let used = attempt.strangers_until.saturating_sub(now);
                used <= (STRANGERS_BURST - 1) * STRANGERS_PAUSE_MS
            }
        }
    }

    pub(super) fn note(&self, server: &ServerName, at: u64, asks: Asks, failed: bool) {
        let mut last = self.last.lock();
        if last.len() >= SERVERS_MAX && !last.contains_key(server) {
            last.clear();
        }
        let before = last.get(server).filter(|attempt| attempt.at <= at);
        let mut strangers_until = before.map_or(0, |attempt| attempt.strangers_until);
        if matches!(asks, Asks::Stranger) {
            strangers_until = strangers_until.max(at) + STRANGERS_PAUSE_MS;
        }
        last.insert(server.to_owned(), Attempt { at, failed, strangers_until });
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

    use super::{Asks, Attempts, PAUSE_MS, STRANGERS_BURST, STRANGERS_PAUSE_MS};

    const START: u64 = 1_000_000_000;

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
        attempts.note(down, START, Asks::Verification, true);
        attempts.note(up, START, Asks::Verification, false);
        let may_ask = |server, after| attempts.may_ask(server, START + after, Asks::Verification);
        assert!(!may_ask(down, PAUSE_MS - 1) && !may_ask(up, PAUSE_MS - 1));
        attempts.forgive(down);
        attempts.forgive(up);
        assert!(may_ask(down, PAUSE_MS - 1));
        assert!(!may_ask(up, PAUSE_MS - 1), "each of its requests would cost one of ours");
        assert!(may_ask(up, PAUSE_MS));
    }

    /// Asks as often as is allowed; how many times that was.
    fn asked_for_strangers(attempts: &Attempts, from: u64, failed: bool) -> usize {
        let server = server_name!("a.test");
        let mut asked = 0;
        for now in from..from + 100 {
            if attempts.may_ask(server, now, Asks::Stranger) {
                attempts.note(server, now, Asks::Stranger, failed);
                asked += 1;
            }
        }
        asked
    }

    #[test]
    fn strangers_have_a_server_asked_a_few_times_and_then_seldom() {
        let attempts = Attempts::default();
        assert_eq!(asked_for_strangers(&attempts, START, false), STRANGERS_BURST as usize);
        let later = START + STRANGERS_PAUSE_MS;
        assert_eq!(asked_for_strangers(&attempts, later, false), 1);
        let latest = later + 3 * STRANGERS_PAUSE_MS;
        assert_eq!(asked_for_strangers(&attempts, latest, false), 3);
        let back = latest - 1000;
        assert_eq!(asked_for_strangers(&attempts, back, false), 0, "the clock was put back");
        assert_eq!(asked_for_strangers(&Attempts::default(), START, true), 1, "it is not there");
    }
}
