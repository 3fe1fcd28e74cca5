//! The WebSocket transport, as `docs/websocket.md` promises it.

mod batches;
mod delivered;
mod ends;
mod limits;
mod methods;
mod opening;
mod sliding;
mod tls;
mod wire;
