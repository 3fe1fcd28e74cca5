//! Federation from outside: what other servers see of us, and what they can do to us.

mod addresses;
mod bodies;
mod certificates;
mod delegation;
mod discovery;
mod inbound;
mod keys;
mod net;
mod remote;
mod sender;
mod server_api;
