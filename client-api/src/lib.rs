//! The client-server API (Matrix v1.19) over HTTP and WebSocket.
//!
//! This crate speaks the protocol and decides nothing: a handler extracts, makes one call to the
//! domain and responds. One file per endpoint group, named as in ruma; [`router`] merges them, and
//! each states in its bounds which pieces of the application it uses. Start reading at `routes.rs`,
//! then `extract.rs` and `error.rs`.

mod acting;
mod address;
mod config;
mod error;
mod extract;
mod gate;
mod guests;
mod invites;
mod limits;
mod nesting;
mod page;
mod render;
mod respond;
mod routes;
mod uia;

pub use address::{ClientAddress, TrustedProxies};
pub use config::{Config, Contact, Rate, RateLimits, Registration, Support};
pub use error::Error;
pub use gate::Gate;
pub use routes::{Pieces, Sockets, close_account, router, unsubscribe_url};
