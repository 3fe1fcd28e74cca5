//! What could have been in the standard library: a clock and randomness that are handed in, and
//! tasks that somebody owns.
//!
//! Everything nondeterministic below `src/` goes through here, so that a test or a simulation can
//! replay a failure from its seed.

mod clock;
mod rng;
mod tasks;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use rng::Rng;
pub use tasks::Tasks;
