//! What single pieces of work cost, in figures that a busy machine does not change: flushes, bytes and
//! allocations (`costs counters`), and instructions, which `cargo xtask costs` has valgrind count
//! (`costs run NAME`). Both are held against the figures in `costs/*.txt`; see
//! `docs/decisions/0020-costs-are-counted.md`. Start reading at `counters.rs` and `works.rs`.

mod allocations;
mod counters;
mod measured;
mod presence_load;
mod works;
mod world;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "costs", about = "What single pieces of work cost")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print each counter with its value
    Counters,
    /// Print the names of the works and how often one run of each does it
    Works,
    /// Measure what very many users who come and go cost, in CPU
    Presence(presence_load::Arguments),
    /// Do one work; valgrind counts the instructions of what is measured
    Run {
        name: String,
        /// What `prepare` has made
        #[arg(long)]
        prepared: Option<PathBuf>,
    },
    /// Make the large room that some works need, in an empty directory
    Prepare { directory: PathBuf },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Counters => {
            for (name, value) in counters::all()? {
                println!("{name}\t{value}");
            }
        }
        Command::Works => {
            for work in works::ALL {
                println!("{}\t{}", work.name, work.times);
            }
        }
        Command::Presence(arguments) => presence_load::run(&arguments)?,
        Command::Run { name, prepared } => works::run(&name, prepared.as_deref())?,
        Command::Prepare { directory } => works::prepare(&directory)?,
    }
    Ok(())
}
