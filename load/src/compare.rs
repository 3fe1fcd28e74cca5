//! `load compare`: the same work on Meridian and on Synapse with PostgreSQL, in turn (A B A B), each
//! slice short, so that both meet the same machine. CPU is that of all processes of a server.

mod closed;
mod contender;
mod open;
mod page;
mod plot;
mod processes;
mod results;
mod scenarios;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use clap::Args;

use self::{
    contender::{Contender, Peer},
    results::{Figures, Measured, Results, Round, Server},
    scenarios::Scenario,
    world::{Size, World},
};

/// Longer than this, one server's slice no longer meets the same machine as the other's.
const SLICE_MAX_SECONDS: u64 = 30;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Meridian's program
    #[arg(long)]
    server_bin: PathBuf,
    /// The script that installs and configures Synapse; without it Meridian is measured alone
    #[arg(long)]
    synapse: Option<PathBuf>,
    /// Where Synapse is installed
    #[arg(long, default_value = "target/tools/synapse")]
    venv: PathBuf,
    /// Where PostgreSQL's programs are
    #[arg(long, default_value = "/usr/lib/postgresql/15/bin")]
    postgres: PathBuf,
    /// Seconds of a slice, at most 30
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Slices of each server and scenario
    #[arg(long, default_value_t = 3)]
    pairs: u32,
    /// Users in the largest room
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Rooms of the account that syncs all of them
    #[arg(long, default_value_t = 1000)]
    rooms: usize,
    /// Only the scenarios whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// A directory for the results: `compare.json` and plots
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PageArguments {
    /// The directory with `compare.json` and, if it was measured, `bench.json`
    directory: PathBuf,
    /// The page to write
    #[arg(long)]
    output: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!((1..=SLICE_MAX_SECONDS).contains(&arguments.seconds), "a slice has 1 to 30 seconds");
    let directory = std::env::temp_dir().join(format!("meridian-compare-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let measured = measure(&arguments, &directory).await;
    if measured.is_ok() {
        fs::remove_dir_all(&directory)?;
    } else {
        eprintln!("compare: the logs are in {}", directory.display());
    }
    let results = measured?;
    print!("{}", page::table(&results));
    if let Some(output) = &arguments.output {
        fs::create_dir_all(output)?;
        fs::write(output.join("compare.json"), serde_json::to_vec_pretty(&results)?)?;
        plot::write_all(&results, output)?;
    }
    Ok(())
}

/// The page of the figures that a directory holds.
pub(crate) fn write_page(arguments: &PageArguments) -> anyhow::Result<()> {
    fs::write(&arguments.output, page::of(&arguments.directory)?)?;
    Ok(())
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Results> {
    let mut contenders =
        vec![Contender::meridian(&arguments.server_bin, &directory.join("meridian")).await?];
    if let Some(script) = &arguments.synapse {
        let script = script.canonicalize()?;
        let venv = std::path::absolute(&arguments.venv)?;
        let peer = Peer { script: &script, venv: &venv, postgres: &arguments.postgres };
        contenders.push(Contender::synapse(&peer, &directory.join("synapse")).await?);
    }
    let mut servers = Vec::new();
    let mut worlds = Vec::new();
    let size = Size { members: arguments.members, rooms: arguments.rooms };
    for contender in &contenders {
        let empty = contender.memory()?;
        worlds.push(World::create(contender.name, contender.address, size).await?);
        servers.push(Server::new(contender.name, contender.start_up, empty, contender.memory()?));
    }
    let mut results = Results::begin(arguments.seconds, arguments.pairs, size, servers)?;
    for scenario in Scenario::ALL {
        if arguments.only.as_ref().is_some_and(|only| !scenario.name().contains(only.as_str())) {
            continue;
        }
        let mut measured = Measured::new(scenario.name(), scenario.what());
        for pair in 1..=arguments.pairs {
            println!("compare: {} ({pair} of {})", scenario.name(), arguments.pairs);
            measured.rounds.push(round(scenario, &contenders, &worlds, arguments.seconds).await?);
        }
        results.scenarios.push(measured);
    }
    Ok(results)
}

/// One slice of each server.
async fn round(
    scenario: Scenario,
    contenders: &[Contender],
    worlds: &[World],
    seconds: u64,
) -> anyhow::Result<Round> {
    let mut round = Vec::with_capacity(contenders.len());
    for (contender, world) in contenders.iter().zip(worlds) {
        let slice = scenario.run(world, contender, Duration::from_secs(seconds)).await?;
        round.push(Figures::of(&slice));
    }
    Ok(round)
}
