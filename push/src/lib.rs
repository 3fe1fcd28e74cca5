//! Push notifications: who is to be told of an event outside of a sync, and the way to the push
//! gateways that tell them.
//!
//! Start reading at [`Push`], then `pushers.rs` (what a user's devices asked for).

mod error;
mod ports;
mod pusher;
mod pushers;
mod registry;
mod service;
mod store;

pub use error::PusherError;
pub use ports::{Gateway, GatewayAnswer, GatewayFuture};
pub use pusher::{NewPusher, Pusher};
pub use service::{Config, Pieces, Push};
