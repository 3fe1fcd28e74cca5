//! Drives a real server over loopback, from outside: `load crash` kills it and looks for loss,
//! `load bench` measures what its work costs, `load compare` the same beside Synapse, `load federate` what two of them cost each other,
//! `load join` what it takes to come into a large room, `load resolve` what a fork of one costs, and
//! `load transactions` kills it as soon as it has answered another server.

#![expect(
    clippy::disallowed_methods,
    reason = "a tool, outside the server: its own time, randomness, tasks and environment"
)]

mod bench;
mod certificates;
mod client;
mod compare;
mod connection;
mod crash;
mod federate;
mod fixture;
mod gateways;
mod join;
mod powerloss;
mod resolve;
mod scale;
mod server;
mod socket;
mod transactions;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Load, crash and cost of a Meridian server")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kill the server at random moments under load and check that nothing acknowledged is lost
    Crash(crash::Arguments),
    /// Measure CPU per operation, latencies, memory per idle socket and start-up
    Bench(bench::Arguments),
    /// Measure the same work on Meridian and on Synapse, in turn
    Compare(compare::Arguments),
    /// Write the page of what was measured
    Page(compare::PageArguments),
    /// Compute from what was measured what the whole system needs
    Scale(scale::Arguments),
    /// Measure what events cost that go from one server to another
    Federate(federate::Arguments),
    /// Measure what users who come and go cost a server and another that shares a room with them
    Presence(federate::presence::Arguments),
    /// Measure a join of a large room through another server, and cut joins off half-way
    Join(join::Arguments),
    /// Kill the server right after it has answered other servers' transactions and look for their
    /// events
    Transactions(transactions::Arguments),
    /// Measure what an event costs on a branch whose state is in conflict with the rest of the room
    Resolve(resolve::Arguments),
    /// Hold very many WebSockets behind several gateways, cut them all, and kill a gateway
    Gateways(gateways::Arguments),
    /// The clients of one process of that
    #[command(hide = true)]
    Crowd(gateways::crowd::Arguments),
    /// Check that the model of power loss drops what was not synced and keeps what was
    PowerlossCheck,
    /// Write files with and without syncing them, then wait to be killed
    #[command(hide = true)]
    PowerlossVictim { directory: PathBuf },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Crash(arguments) => block_on(crash::run(arguments)),
        Command::Bench(arguments) => block_on(bench::run(arguments)),
        Command::Compare(arguments) => block_on(compare::run(arguments)),
        Command::Page(arguments) => compare::write_page(&arguments),
        Command::Scale(arguments) => scale::run(&arguments),
        Command::Federate(arguments) => block_on(federate::run(arguments)),
        Command::Presence(arguments) => block_on(federate::presence::run(arguments)),
        Command::Join(arguments) => block_on(join::run(arguments)),
        Command::Transactions(arguments) => block_on(transactions::run(arguments)),
        Command::Resolve(arguments) => block_on(resolve::run(arguments)),
        Command::Gateways(arguments) => block_on(gateways::run(arguments)),
        Command::Crowd(arguments) => block_on(gateways::crowd::run(arguments)),
        Command::PowerlossCheck => powerloss::check(),
        Command::PowerlossVictim { directory } => powerloss::victim(&directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
