//! The binary `meridian`.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match meridian::run(meridian::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line that says what is wrong and why, not a trace.
            eprintln!("meridian: {error:#}");
            ExitCode::FAILURE
        }
    }
}
