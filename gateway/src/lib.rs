//! A gateway holds the clients' connections for a region's core, which is another process of the
//! same machine. It has no store and decides nothing about Matrix.
//!
//! Requests are forwarded as they are (`forward.rs`). WebSockets end here (`opening.rs`,
//! `socket.rs`): what is dull is answered at once, everything else goes to the core over a link that
//! all sockets share (`link.rs`). `uplink.rs` keeps both connections to the core. Start reading at
//! `gateway.rs`; `docs/decisions/0015-gateways-hold-the-connections.md` tells why.

mod beat;
mod forward;
mod gateway;
mod link;
mod opening;
mod outbox;
mod refusal;
mod socket;
mod stream;
mod sweep;
mod uplink;

pub use self::gateway::{Client, Config, Gateway};
