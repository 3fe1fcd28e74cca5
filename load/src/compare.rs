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

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    contender::{Contender, Peer},
    results::{Figures, Measured, Results, Server},
    scenarios::{Scenario, Slice},
    world::{Size, World},
};

/// Beyond its seconds: what a slice prepares and what it still waits for. An initial sync of 1,000
/// rooms takes Synapse a quarter of a minute, and there are two before and after.
const SLICE_GRACE: Duration = Duration::from_secs(100);
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
    #[arg(long, default_value_t = 6)]
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
    /// Minutes for everything, people and rooms included; what is not measured by then is left out,
    /// and the results say so
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Only the scenarios whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// A directory for the results: `compare.json` and plots
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PageArguments {
    /// The directory with `compare.json` and, if they were measured, `bench.json` and
    /// `presence.json`
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
    print!("{}{}", page::table(&results), page::failures(&results));
    println!("compare: all of it took {} s", results.took_seconds);
    Ok(())
}

/// Whole or not at all: the run may be broken off at any moment.
fn keep(results: &Results, output: Option<&Path>) -> anyhow::Result<()> {
    let Some(output) = output else { return Ok(()) };
    fs::create_dir_all(output)?;
    let partial = output.join("compare.json.partial");
    fs::write(&partial, serde_json::to_vec_pretty(results)?)?;
    fs::rename(partial, output.join("compare.json"))?;
    plot::write_all(results, output)
}

/// The page of the figures that a directory holds.
pub(crate) fn write_page(arguments: &PageArguments) -> anyhow::Result<()> {
    fs::write(&arguments.output, page::of(&arguments.directory)?)?;
    Ok(())
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Results> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(60 * arguments.minutes);
    let contenders = start(arguments, directory).await?;
    let mut servers = Vec::new();
    let mut worlds = Vec::new();
    let size = Size { members: arguments.members, rooms: arguments.rooms };
    for contender in &contenders {
        let empty = contender.memory()?;
        let world = timeout_at(end, World::create(contender.name, contender.address, size)).await;
        worlds.push(world.with_context(|| format!("people and rooms on {}", contender.name))??);
        servers.push(Server::new(contender.name, contender.start_up, empty, contender.memory()?));
    }
    let output = arguments.output.as_deref();
    let mut results = Results::begin(arguments.seconds, arguments.pairs, size, servers)?;
    let wanted = |scenario: &Scenario| {
        arguments.only.as_ref().is_none_or(|only| scenario.name().contains(only.as_str()))
    };
    for scenario in Scenario::ALL.into_iter().filter(wanted) {
        let bounds = Bounds { pairs: arguments.pairs, seconds: arguments.seconds, end };
        results.scenarios.push(repeat(scenario, &contenders, &worlds, bounds).await);
        results.took_seconds = begin.elapsed().as_secs();
        keep(&results, output)?;
    }
    Ok(results)
}

async fn start(arguments: &Arguments, directory: &Path) -> anyhow::Result<Vec<Contender>> {
    let mut contenders =
        vec![Contender::meridian(&arguments.server_bin, &directory.join("meridian")).await?];
    if let Some(script) = &arguments.synapse {
        let script = script.canonicalize()?;
        let venv = std::path::absolute(&arguments.venv)?;
        let peer = Peer { script: &script, venv: &venv, postgres: &arguments.postgres };
        contenders.push(Contender::synapse(&peer, &directory.join("synapse")).await?);
    }
    Ok(contenders)
}

#[derive(Clone, Copy)]
struct Bounds {
    pairs: u32,
    seconds: u64,
    /// Nothing begins afterwards.
    end: Instant,
}

/// A scenario, a slice of each server in turn. One that fails keeps what was measured before.
async fn repeat(
    scenario: Scenario,
    contenders: &[Contender],
    worlds: &[World],
    bounds: Bounds,
) -> Measured {
    let mut measured = Measured::new(scenario.name(), scenario.what(contenders));
    for pair in 1..=bounds.pairs {
        if Instant::now() >= bounds.end {
            measured.failures.push(format!("slice {pair} and later: the run's time was over"));
            break;
        }
        println!("compare: {} ({pair} of {})", scenario.name(), bounds.pairs);
        let mut round = Vec::with_capacity(contenders.len());
        for (contender, world) in contenders.iter().zip(worlds) {
            let slice = slice(scenario, world, contender, bounds.seconds).await;
            round.push(slice.as_ref().ok().map(Figures::of));
            if let Err(error) = slice {
                let failure = format!("{}, slice {pair}: {error:#}", contender.name);
                eprintln!("compare: {}: {failure}", scenario.name());
                measured.failures.push(failure);
            }
        }
        measured.rounds.push(round);
        if !measured.failures.is_empty() {
            break;
        }
    }
    measured
}

async fn slice(
    scenario: Scenario,
    world: &World,
    contender: &Contender,
    seconds: u64,
) -> anyhow::Result<Slice> {
    let time = Duration::from_secs(seconds);
    let running = timeout(time + SLICE_GRACE, scenario.run(world, contender, time)).await;
    running.with_context(|| format!("not over after {:?}", time + SLICE_GRACE))?
}
