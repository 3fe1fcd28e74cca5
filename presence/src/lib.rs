//! Presence: who is online, kept in memory.
//!
//! Knows users and devices only. Who is interested in whom is the business of its readers: they
//! follow [`Presence::changes`] and ask [`Presence::changed_since`]. Start reading at
//! `presence.rs`, then `device.rs` for the rules and `timers.rs` for the clockwork.

mod changes;
mod config;
mod device;
mod presence;
mod remote;
mod store;
mod timers;
mod user;

pub use changes::{ChangeLogGap, PresenceChange};
pub use config::Config;
pub use presence::{Presence, PresenceError, SyncGuard};
pub use remote::RemotePresence;
pub use store::StoreError;
pub use user::UserPresence;
