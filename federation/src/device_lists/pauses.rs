//! Servers that did not answer, and until when they are not asked again: a dead server makes one
//! user wait now and then, not every user every time.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

/// After the first failure; doubled with each further one.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// Servers that are remembered; beyond, those whose pause is over are forgotten first.
const SERVERS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Pauses(Mutex<HashMap<OwnedServerName, Pause>>);

struct Pause {
    length: Duration,
    until: Instant,
}

impl Pauses {
    pub(super) fn is_on(&self, server: &ServerName) -> bool {
        self.0.lock().get(server).is_some_and(|pause| Instant::now() < pause.until)
    }

    pub(super) fn failed(&self, server: &ServerName) {
        let now = Instant::now();
        let mut pauses = self.0.lock();
        if pauses.len() >= SERVERS_MAX && !pauses.contains_key(server) {
            pauses.retain(|_, pause| now < pause.until);
            if pauses.len() >= SERVERS_MAX {
                return;
            }
        }
        let before = pauses.get(server);
        // Several requests may have failed together: that is one failure.
        if before.is_some_and(|pause| now < pause.until) {
            return;
        }
        let length = before.map_or(SHORTEST, |pause| (pause.length * 2).min(LONGEST));
        pauses.insert(server.to_owned(), Pause { length, until: now + length });
    }

    pub(super) fn end(&self, server: &ServerName) {
        self.0.lock().remove(server);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::server_name;

    use super::{LONGEST, Pauses, SHORTEST};

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_failures_and_end_with_a_contact() {
        let (pauses, server) = (Pauses::default(), server_name!("a.test"));
        assert!(!pauses.is_on(server));
        let mut length = SHORTEST;
        for _ in 0..8 {
            // Those who were waiting at the same time count once.
            pauses.failed(server);
            pauses.failed(server);
            tokio::time::advance(length - Duration::from_millis(1)).await;
            assert!(pauses.is_on(server));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!pauses.is_on(server));
            length = (length * 2).min(LONGEST);
        }
        pauses.failed(server);
        assert!(!pauses.is_on(server_name!("b.test")));
        pauses.end(server);
        assert!(!pauses.is_on(server));
    }
}
