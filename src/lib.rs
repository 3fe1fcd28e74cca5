//! Everything of the binary but its `main`: command line, configuration, wiring, telemetry,
//! shutdown.
//!
//! A library so that tests can start whole regions, several in one process. Start reading at
//! `wiring.rs`, which puts the pieces together, then `commands/serve.rs` and `serve.rs`.

mod admin;
mod app_state;
mod commands;
mod config;
mod delegation;
mod gateways;
mod health;
mod identity;
mod mail;
mod operator_client;
mod page;
mod serve;
mod telemetry;
mod tls;
mod wiring;

pub use commands::{Cli, run};
pub use config::Config;
pub use serve::{Limits, serve};
pub use wiring::{Parts, Region};
