//! Many servers in one process, over a network that splits, loses, repeats and reorders.
//!
//! A history is a seed: what users do, what the network does and which clock is wrong follow from
//! it, one step after the other, so a history that failed fails again. When everything has been
//! delivered in the end, all servers must have the same state. Start with [`World`], the servers;
//! then [`run`], which makes one history; [`Network`] is what lies between.

mod blame;
mod converge;
pub mod graphs;
mod history;
mod network;
mod outbox;
mod server;
mod step;
mod world;

pub use converge::{Converged, Difference};
pub use history::{History, Outcome, run};
pub use network::Network;
pub use server::Server;
pub use world::{Counts, World};
