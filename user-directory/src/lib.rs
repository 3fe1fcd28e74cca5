//! The user directory: who can be found by a part of their name, and by whom ([spec]).
//!
//! An index of words follows the log of facts. Users of rooms that anybody may look into are found
//! by everybody, the others by those who share a room with them: each private room has an index of
//! its own, so a search costs what the rooms of the one who searches cost, never what all users do.
//! The index finds; whether the one found may be shown is asked of the rooms at that moment.
//!
//! Start reading at `directory.rs`, then `follow.rs` and `search.rs`; `store.rs` is the only file
//! that names tables.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#user-directory

mod directory;
mod follow;
mod index;
mod search;
mod store;
mod words;

pub use directory::{Error, UserDirectory};
pub use search::{Found, FoundUser};
