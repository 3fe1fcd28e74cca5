//! Searching what was said ([spec]): an index of words that follows the log of facts.
//!
//! The words of a room's events are in segments, few for each room, each of which finds a word by one
//! read. So a search costs the rooms that are searched and the results that are looked at, never
//! what the rooms hold. What is encrypted cannot
//! be read and is not there. The index finds; whether the one who searches may see what was found, and
//! whether it still says what it said, is asked of the rooms at that moment.
//!
//! Start reading at `search.rs`, then `follow.rs`, `index.rs` and `find.rs`; `store.rs` is the only file that names
//! tables.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#server-side-search

mod find;
mod follow;
mod index;
mod lists;
mod merge;
mod search;
mod store;
mod text;
mod words;

pub use find::{Found, Hit, Order, Query};
pub use search::{Error, Search};
pub use store::Place;
pub use text::Keys;
