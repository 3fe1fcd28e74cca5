//! The bytes of a WebSocket, and those between a gateway and the region's core. Pure: bytes in,
//! messages out; who reads and writes them is elsewhere.
//!
//! [`codec`] is RFC 6455 as a server speaks it, [`link`] the link of a gateway.

pub mod codec;
pub mod link;
