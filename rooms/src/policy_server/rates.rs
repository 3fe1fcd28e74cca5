//! How many events are recommended in a time.

use std::{convert::Infallible, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::PolicyRate;

/// Users, or rooms, that are counted at a time. Who is forgotten has a full share again; it takes as
/// many events of others, each signed by its server, to come to that.
const COUNTED: usize = 10_000;

/// What each has left of its share.
pub(super) struct Rates<K> {
    rate: PolicyRate,
    shares: Cache<K, Arc<Mutex<Share>>>,
}

struct Share {
    /// Events that were possible at `at_ms`.
    left: f64,
    at_ms: u64,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    pub(super) fn new(rate: PolicyRate) -> Self {
        Self { rate, shares: Cache::new(COUNTED) }
    }

    /// Whether there is one event left, which then is used.
    pub(super) fn take(&self, of: &K, now_ms: u64) -> bool {
        let full = f64::from(self.rate.burst);
        let new = || Ok::<_, Infallible>(Arc::new(Mutex::new(Share { left: full, at_ms: now_ms })));
        let Ok(share) = self.shares.get_or_insert_with(of, new);
        let mut share = share.lock();
        // A clock that was set back earns nothing and costs nothing.
        let passed_ms = now_ms.saturating_sub(share.at_ms);
        let earned = passed_ms as f64 / 1000.0 * self.rate.per_second;
        share.left = (share.left + earned).min(full);
        share.at_ms = now_ms;
        let has_one = share.left >= 1.0;
        if has_one {
            share.left -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::{PolicyRate, Rates};

    #[test]
    fn shares_are_used_up_and_earned_again() {
        let rates = Rates::new(PolicyRate { per_second: 0.5, burst: 3 });
        let take_all = |of: &'static str, now| (0..).take_while(|_| rates.take(&of, now)).count();
        assert_eq!(take_all("ada", 1000), 3);
        assert_eq!(take_all("bob", 1000), 3, "others have their own");
        assert_eq!(take_all("ada", 2000), 0);
        assert_eq!(take_all("ada", 3000), 1);
        assert_eq!(take_all("ada", 500), 0, "the clock was set back");
        assert_eq!(take_all("ada", 2500), 1);
        assert_eq!(take_all("ada", 1 << 40), 3, "no more than at first");
    }
}
