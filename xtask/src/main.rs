//! Tasks of this repository: `cargo xtask ci` is what continuous integration runs, and the other
//! commands are its parts, to be run by hand.

#![expect(
    clippy::disallowed_methods,
    reason = "a tool, outside the server: its own time, environment and exit code"
)]

mod bench;
mod checkout;
mod ci;
mod costs;
mod layers;
mod load;
mod region;
mod sytest;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::checkout::Checkout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Meridian repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything that must pass: installs what is missing, checks, tests, crashes, real clients
    Ci(ci::Arguments),
    /// Check that every crate depends only on crates of a lower rank
    Layers,
    /// Check file headers, unfinished marks, lengths and sleeps in tests
    Tidy {
        /// Write the function lengths found to xtask/ratchet.txt
        #[arg(long)]
        bless: bool,
    },
    /// Measure the release build on this machine; what follows `--` is passed to `load`
    Bench(bench::Arguments),
    /// Count what single pieces of work cost and compare with what is kept in costs/
    Costs(costs::Arguments),
    /// Kill the release build at random moments and check that it lost nothing
    Crash(load::CrashArguments),
    /// Run SyTest against the release build and compare with what passed before
    Sytest(sytest::Arguments),
    /// Kill the region that runs from this directory with SIGKILL and start it again
    #[command(hide = true)]
    RegionRestart { directory: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<bool> {
    let checkout = Checkout::find()?;
    match task {
        Task::Ci(arguments) => ci::run(&checkout, &arguments),
        Task::Layers => Ok(report("layers", &layers::check(&checkout)?)),
        Task::Tidy { bless } => Ok(report("tidy", &tidy::check(&checkout, bless)?)),
        Task::Bench(arguments) => bench::run(&checkout, &arguments),
        Task::Costs(arguments) => costs::run(&checkout, &arguments),
        Task::Crash(arguments) => load::crash(&checkout, &arguments),
        Task::Sytest(arguments) => sytest::run(&checkout, &arguments),
        Task::RegionRestart { directory } => region::restart(&directory).map(|()| true),
    }
}

/// Prints what a check found; true if it found nothing.
fn report(check: &str, problems: &[String]) -> bool {
    for problem in problems {
        println!("{problem}");
    }
    println!("{check}: {} problems", problems.len());
    problems.is_empty()
}
