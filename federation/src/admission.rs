//! How much one server may ask for at once.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

use crate::error::Error;

/// Requests of one server that are worked on at the same time.
const AT_ONCE: usize = 64;
/// Requests of one server in a second, in the long run.
const PER_SECOND: f64 = 200.0;
/// Requests that a server which was quiet may make as fast as it likes.
const BURST: f64 = 1000.0;
/// What to wait for when others of the server's requests have to end first.
const PAUSE: Duration = Duration::from_secs(1);
/// Servers that are remembered before the quiet ones are forgotten.
const SERVERS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Admission(Mutex<HashMap<OwnedServerName, Usage>>);

struct Usage {
    /// Held by every request that is being worked on.
    open: Weak<()>,
    /// Requests that may be made at `at`.
    left: f64,
    at: Instant,
}

/// A request that was let in, until it is dropped.
#[must_use = "the request counts as long as this is there"]
pub(crate) struct Admitted(#[expect(dead_code, reason = "its drop is what counts")] Arc<()>);

impl Admission {
    /// Lets one more request of the server in, or says when to come again.
    pub(crate) fn admit(&self, server: &ServerName) -> Result<Admitted, Error> {
        let now = Instant::now();
        let mut servers = self.0.lock();
        if servers.len() >= SERVERS_MAX && !servers.contains_key(server) {
            servers.retain(|_, usage| !usage.is_quiet(now));
        }
        let new = || Usage { open: Weak::new(), left: BURST, at: now };
        servers.entry(server.to_owned()).or_insert_with(new).admit(now)
    }
}

impl Usage {
    fn left_at(&self, now: Instant) -> f64 {
        let earned = now.duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + earned).min(BURST)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.open.strong_count() == 0 && self.left_at(now) >= BURST
    }

    fn admit(&mut self, now: Instant) -> Result<Admitted, Error> {
        if self.open.strong_count() >= AT_ONCE {
            return Err(Error::limit_exceeded(PAUSE));
        }
        let left = self.left_at(now);
        if left < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - left) / PER_SECOND);
            return Err(Error::limit_exceeded(wait));
        }
        (self.left, self.at) = (left - 1.0, now);
        let open = self.open.upgrade().unwrap_or_else(|| {
            let open = Arc::default();
            self.open = Arc::downgrade(&open);
            open
        });
        Ok(Admitted(open))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::server_name;

    use super::{AT_ONCE, Admission, BURST, PER_SECOND};

    #[tokio::test]
    async fn requests_that_end_make_room_for_others() {
        let (admission, server) = (Admission::default(), server_name!("a.test"));
        let mut open: Vec<_> = (0..AT_ONCE).map(|_| admission.admit(server).unwrap()).collect();
        assert!(admission.admit(server).is_err(), "one too many");
        assert!(admission.admit(server_name!("b.test")).is_ok(), "others have room of their own");
        open.pop();
        open.push(admission.admit(server).unwrap());
        assert!(admission.admit(server).is_err());
        drop(open);
        assert!(admission.admit(server).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_all_the_time_is_slowed_down() {
        let (admission, server) = (Admission::default(), server_name!("a.test"));
        let take_all = || (0..).take_while(|_| admission.admit(server).is_ok()).count();
        assert_eq!(take_all(), BURST as usize);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(take_all(), 2 * PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(take_all(), BURST as usize, "what was not used does not add up");
    }
}
