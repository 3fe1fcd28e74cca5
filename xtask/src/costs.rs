//! `cargo xtask costs`: counts what single pieces of work cost and holds it against the figures that
//! are kept in `costs/`. Nothing here is a time: a busy machine finds the same.

mod kept;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use self::kept::Figures;
use crate::{checkout::Checkout, ci::packages, load::Binaries};

/// Of one work under valgrind; the longest takes a fifth of it.
const WORK_SECONDS: u32 = 100;

#[derive(Args)]
pub(crate) struct Arguments {
    /// One kind only
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Keep what is found from now on
    #[arg(long)]
    accept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Flushes, bytes written, allocations
    Counters,
    /// Instructions, counted by valgrind
    Instructions,
}

impl Kind {
    /// Where its figures are kept.
    fn file(self) -> &'static str {
        match self {
            Self::Counters => "costs/counters.txt",
            Self::Instructions => "costs/instructions.txt",
        }
    }

    /// How much more than kept is no failure yet. Maps are hashed with another key in each run, random
    /// identifiers are compressed now better, now worse, and what follows the log does its part in
    /// as many batches as the machine's speed makes of it. One flush or write more for each send is
    /// far above it.
    fn may_grow_percent(self) -> u64 {
        match self {
            Self::Counters => 4,
            Self::Instructions => 5,
        }
    }

    fn count(self, checkout: &Checkout) -> anyhow::Result<Figures> {
        match self {
            Self::Counters => counters(checkout),
            Self::Instructions => instructions(checkout),
        }
    }
}

pub(crate) fn run(checkout: &Checkout, arguments: &Arguments) -> anyhow::Result<bool> {
    let mut problems = 0;
    for kind in [Kind::Counters, Kind::Instructions] {
        if arguments.only.is_some_and(|only| only != kind) {
            continue;
        }
        if arguments.accept {
            let found = kind.count(checkout)?;
            fs::write(checkout.path(kind.file()), found.text())?;
            println!("{} is written", kind.file());
            continue;
        }
        for problem in check(checkout, kind)? {
            println!("{problem}");
            problems += 1;
        }
    }
    Ok(problems == 0)
}

/// What costs more than it did, or is not kept. Prints what costs less.
pub(crate) fn check(checkout: &Checkout, kind: Kind) -> anyhow::Result<Vec<String>> {
    let path = checkout.path(kind.file());
    let kept = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let kept = Figures::parse(&kept)?;
    let found = kind.count(checkout)?;
    print!("{}", found.text());
    let (worse, better) = kept.compare(&found, kind.may_grow_percent());
    for line in &better {
        println!("{line}");
    }
    if !(worse.is_empty() && better.is_empty()) {
        let name = kind.to_possible_value().context("it has a name")?;
        println!("to keep what is found: cargo xtask costs --only {} --accept", name.get_name());
    }
    Ok(worse)
}

pub(crate) fn build_command(checkout: &Checkout) -> Command {
    checkout.cargo(&["build", "--release", "--package=costs"])
}

/// Presence of 100,000 users, in time and not in counts.
pub(crate) fn presence_command(checkout: &Checkout) -> anyhow::Result<Command> {
    let mut command = checkout.command(&program(checkout)?.to_string_lossy());
    command.arg("presence");
    Ok(command)
}

fn program(checkout: &Checkout) -> anyhow::Result<PathBuf> {
    let status = build_command(checkout).status().context("cargo build")?;
    ensure!(status.success(), "the program that counts cannot be built");
    Ok(Binaries::at(checkout).server.with_file_name("costs"))
}

fn counters(checkout: &Checkout) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for (name, value) in lines(Command::new(program(checkout)?).arg("counters"))? {
        figures.set(name, value);
    }
    Ok(figures)
}

/// Each work is a run of its own: what one leaves in memory is no cost of the next.
fn instructions(checkout: &Checkout) -> anyhow::Result<Figures> {
    packages::install_to_count(checkout)?;
    let program = program(checkout)?;
    let directory = checkout.path("target/costs");
    // Of the run before; the works change it.
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let prepared = directory.join("prepared");
    fs::create_dir_all(&prepared)?;
    let status = Command::new(&program).arg("prepare").arg(&prepared).status()?;
    ensure!(status.success(), "the large room cannot be made");
    let mut figures = Figures::default();
    for (number, (name, times)) in lines(Command::new(&program).arg("works"))?.iter().enumerate() {
        println!("counting: {name}");
        let profile = directory.join(format!("{number}.callgrind"));
        let mut valgrind = checkout.command("valgrind");
        valgrind
            .args(["--tool=callgrind", "--quiet", "--toggle-collect=*costs_measured*"])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(&program)
            .args(["run", name, "--prepared"])
            .arg(&prepared);
        let output = checkout.bounded(WORK_SECONDS, &valgrind).output().context("valgrind")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {complaint}");
        let all =
            total(&fs::read_to_string(&profile)?).with_context(|| profile.display().to_string())?;
        ensure!(all > 0, "{name}: nothing was counted; is `costs_measured` still a function?");
        figures.set(name.clone(), all / times);
    }
    Ok(figures)
}

/// Of all functions, from the end of a profile.
fn total(profile: &str) -> Option<u64> {
    profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

/// `name<tab>value`, as the program prints it.
fn lines(command: &mut Command) -> anyhow::Result<Vec<(String, u64)>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {complaint}");
    let text = String::from_utf8(output.stdout)?;
    let line = |line: &str| {
        let (name, value) = line.split_once('\t').context("a line without a value")?;
        Ok((name.to_owned(), value.parse()?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_at_the_end_of_a_profile() {
        assert_eq!(total("events: Ir\nsummary: 0\n\n12 5\ntotals: 4711\n"), Some(4711));
        assert_eq!(total("events: Ir\n"), None);
    }
}
