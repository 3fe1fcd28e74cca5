//! Events that are sent later, unless they are put off or taken back: MSC4140, by which a client that
//! disappears leaves its call.
//!
//! What is scheduled is on disk before it is answered, and is sent once: the id of a delayed event is
//! the transaction id of the event that it becomes. Start reading at `service.rs`, then `timer.rs`;
//! `store.rs` is the only file that names tables.

mod error;
mod service;
mod store;
mod timer;

pub use error::{Error, Failure};
pub use service::{Action, Config, DelayedEvent, DelayedEvents, NewDelayedEvent, Outcome, Pieces};
