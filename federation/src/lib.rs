//! Server-to-server: the region as one homeserver among others.
//!
//! Outwards: [`Client`] finds a server and talks to it, [`Remote`] answers the questions of the room
//! engine through it, [`KeyRing`] knows whose signature is whose and [`DeviceLists`] which devices
//! others have, [`Sender`] carries events and notices. Inwards: [`router`] is the whole server-server
//! API. Start reading at `client.rs`, `sender.rs` and `routes.rs`.

mod config;

mod client;
mod device_lists;
mod keys;
mod lists;
mod remote;
mod x_matrix;

mod sender;

mod admission;
mod edus;
mod error;
mod extract;
mod inbound;
mod routes;
mod transactions;

pub use client::{Answer, Client, Limits, Lookup, RequestError, Resolver, Service};
pub use config::Config;
pub use device_lists::{DeviceLists, DeviceListsPieces};
pub use inbound::{Inbound, Pieces};
pub use keys::KeyRing;
pub use remote::Remote;
pub use routes::{media_router, router};
pub use sender::{Sender, SenderPieces, Sending, Transport};
