//! A bounded table of short-lived entries, each found by a secret.
//!
//! In memory: what it holds is worth nothing after a restart, when a client starts over. Keys are
//! hashed, so that a look-up takes the same time for any wrong guess.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

type Hash = [u8; 32];

#[derive(Debug)]
struct Entries<T> {
    by_key: HashMap<Hash, (u64, T)>,
    /// All live equally long, so this is the order of expiry.
    order: VecDeque<(u64, Hash)>,
}

/// Entries that live equally long, at most `capacity` of them.
#[derive(Debug)]
pub struct ShortLived<T> {
    entries: Mutex<Entries<T>>,
    lifetime_ms: u64,
    capacity: usize,
}

fn hash(key: &str) -> Hash {
    Sha256::digest(key).into()
}

impl<T> ShortLived<T> {
    pub fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            entries: Mutex::new(Entries { by_key: HashMap::new(), order: VecDeque::new() }),
            lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
            capacity,
        }
    }

    /// Makes room by dropping what has expired, then the oldest.
    pub fn insert(&self, key: &str, value: T, now: u64) {
        let mut entries = self.entries.lock();
        while let Some((expires_at, oldest)) = entries.order.front().copied() {
            if expires_at > now && entries.order.len() < self.capacity {
                break;
            }
            entries.order.pop_front();
            entries.by_key.remove(&oldest);
        }
        let (key, expires_at) = (hash(key), now.saturating_add(self.lifetime_ms));
        entries.by_key.insert(key, (expires_at, value));
        entries.order.push_back((expires_at, key));
    }

    /// Of many who try at the same time, one gets it.
    pub fn take(&self, key: &str, now: u64) -> Option<T> {
        let (expires_at, value) = self.entries.lock().by_key.remove(&hash(key))?;
        (now < expires_at).then_some(value)
    }

    /// `None` if there is no such entry, or no longer.
    pub fn with<R>(&self, key: &str, now: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut entries = self.entries.lock();
        let (expires_at, value) = entries.by_key.get_mut(&hash(key))?;
        (now < *expires_at).then(|| change(value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ShortLived;

    #[test]
    fn an_entry_is_taken_once() {
        let table = ShortLived::new(Duration::from_secs(1), 10);
        table.insert("a", 1, 0);
        assert_eq!(table.take("b", 0), None);
        assert_eq!(table.take("a", 999), Some(1));
        assert_eq!(table.take("a", 999), None);
    }

    #[test]
    fn an_entry_expires() {
        let table = ShortLived::new(Duration::from_secs(1), 10);
        table.insert("a", 1, 0);
        assert_eq!(table.with("a", 999, |value| *value), Some(1));
        assert_eq!(table.with("a", 1000, |value| *value), None);
        assert_eq!(table.take("a", 1000), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let table = ShortLived::new(Duration::from_secs(1), 2);
        for key in ["a", "b", "c"] {
            table.insert(key, key, 0);
        }
        assert_eq!(table.take("a", 0), None);
        assert_eq!(table.take("b", 0), Some("b"));
        assert_eq!(table.take("c", 0), Some("c"));
        assert!(table.entries.lock().order.len() <= 2);
    }
}
