//! `sim --histories N [--version V] [--seed S]`: random histories on simulated servers, each of
//! which must end in agreement.

#![expect(clippy::disallowed_methods, reason = "a tool: how long it took is its own business")]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use sim::{
    Counts, History, Outcome,
    graphs::{Ending, problem_a, problem_b},
    run,
};

/// Room versions whose rules differ in what matters here.
const VERSIONS: [&str; 6] = ["1", "2", "6", "10", "11", "12"];
/// Failures that are told at length.
const SHOWN: usize = 5;

/// Random histories on simulated servers: afterwards all must have the same state.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// Histories of each room version
    #[arg(long, default_value_t = 100)]
    histories: u64,
    /// One room version only
    #[arg(long)]
    version: Option<String>,
    /// The seed of the first history; the others follow it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tell what happens, step by step
    #[arg(long)]
    trace: bool,
    /// Histories at once
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Default)]
struct Tally {
    done: u64,
    compared: u64,
    counts: Counts,
    failures: Vec<(String, u64, String)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let versions = match &arguments.version {
        Some(version) => vec![version.as_str()],
        None => VERSIONS.to_vec(),
    };
    let start = Instant::now();
    let mut failed = false;
    for version in versions {
        match resets(version, arguments.seed) {
            Ok(line) => println!("version {version}: {line}"),
            Err(error) => {
                println!("FAILED: the graphs of MSC4297, version {version}: {error:#}");
                failed = true;
            }
        }
        let tally = run_all(&arguments, version);
        failed |= !tally.failures.is_empty();
        report(version, &tally, start.elapsed());
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Both graphs of MSC4297. Before version 12 they reset state, as the specification has it.
fn resets(version: &str, seed: u64) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (a, b) = runtime.block_on(async {
        anyhow::Ok((problem_a(version, seed).await?, problem_b(version, seed).await?))
    })?;
    let holds = a == Ending::Current && b == Ending::Current;
    anyhow::ensure!(holds || version != "12", "join rules {a:?}, power levels {b:?}");
    Ok(format!("told an outdated state, it has join rules {a:?} and power levels {b:?}"))
}

fn run_all(arguments: &Arguments, version: &str) -> Tally {
    let bar = ProgressBar::new(arguments.histories);
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("version {version}"));
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.histories {
                        break;
                    }
                    let seed = arguments.seed.wrapping_add(number);
                    let history =
                        History { seed, version: version.to_owned(), trace: arguments.trace };
                    let outcome = run(&history);
                    tally.lock().add(version, seed, outcome);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    tally.into_inner()
}

impl Tally {
    fn add(&mut self, version: &str, seed: u64, outcome: anyhow::Result<Outcome>) {
        self.done += 1;
        let reason = match outcome {
            Err(error) => Some(format!("{error:#}")),
            Ok(outcome) => {
                self.compared += outcome.converged.compared as u64;
                self.counts += outcome.counts;
                let differ = !outcome.report.is_empty();
                differ.then(|| outcome.report.join("\n  "))
            }
        };
        self.failures.extend(reason.map(|reason| (version.to_owned(), seed, reason)));
    }
}

fn report(version: &str, tally: &Tally, elapsed: Duration) {
    let Counts { accepted, known, soft_failed, rejected, refused } = tally.counts;
    println!(
        "version {version}: {} histories, {} servers compared, {} failed ({:.1} s)",
        tally.done,
        tally.compared,
        tally.failures.len(),
        elapsed.as_secs_f64()
    );
    println!(
        "  received: {accepted} accepted, {known} known, {soft_failed} soft-failed, {rejected} \
         rejected, {refused} refused"
    );
    for (version, seed, reason) in tally.failures.iter().take(SHOWN) {
        println!("  FAILED: --histories 1 --version {version} --seed {seed}\n  {reason}");
    }
    if tally.failures.len() > SHOWN {
        let seeds: Vec<String> =
            tally.failures.iter().skip(SHOWN).map(|(_, seed, _)| seed.to_string()).collect();
        println!("  and the seeds {}", seeds.join(", "));
    }
}
