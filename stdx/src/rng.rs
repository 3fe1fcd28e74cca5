//! Randomness as a parameter: the operating system's in production, a seed in tests.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A cryptographically secure generator that is cheap to clone and share.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    /// Seeded by the operating system.
    #[expect(clippy::disallowed_methods, reason = "the one place that draws the system's entropy")]
    pub fn from_system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// The same draws for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.0.lock().fill_bytes(&mut out);
        out
    }

    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// Uniform in `0..bound`. `bound` must not be zero.
    pub fn below(&self, bound: u64) -> u64 {
        // Rejection sampling: a plain remainder would favour small values.
        let zone = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.next_u64();
            if draw < zone {
                return draw % bound;
            }
        }
    }

    /// `len` characters of `[A-Za-z0-9]`; 22 of them carry 131 bits.
    pub fn alphanumeric(&self, len: usize) -> String {
        (0..len).map(|_| char::from(ALPHANUMERIC[self.below(62) as usize])).collect()
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_seed_gives_the_same_draws() {
        assert_eq!(Rng::from_seed(7).alphanumeric(32), Rng::from_seed(7).alphanumeric(32));
        assert_ne!(Rng::from_seed(7).alphanumeric(32), Rng::from_seed(8).alphanumeric(32));
    }

    #[test]
    fn below_stays_below() {
        let rng = Rng::from_seed(1);
        assert!((0..10_000).all(|_| rng.below(7) < 7));
    }
}
