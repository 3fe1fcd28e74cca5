//! One server without an edge, and a push gateway that does what a test says.

mod badges;
mod delivery;
mod faults;
mod gateway;
mod notifications;
mod world;
