//! The content repository: what users upload, what is fetched for them from other servers, and
//! thumbnails of both.
//!
//! Rows say what there is, files hold the bytes. Start reading at `repository.rs`, then `files.rs`
//! for what is on the disk at which moment, `receive.rs` for how bytes come in and `thumbnails.rs`
//! for images. `store.rs` is the only file that names tables, `ports.rs` is what other servers are
//! asked for.

mod disposition;
mod error;
mod files;
mod flights;
mod page;
mod pending;
pub mod ports;
mod receive;
mod repository;
mod store;
mod thumbnails;
mod whole;

pub use disposition::{disposition, filename_of};
pub use error::{Error, OpenError, StoreError};
pub use files::Content;
pub use repository::{Config, Created, Media, MediaOf, Pieces, Preview, Upload, Wanted};
pub use thumbnails::Method;
pub use whole::Checked;
