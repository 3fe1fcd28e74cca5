//! The page for people: the method, the comparison, and each goal beside what was measured. It holds
//! no figure that is not in the files of a run.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use serde::Deserialize;

use super::results::{Figures, Measured, Results, median};

/// A figure of `load bench`.
#[derive(Deserialize)]
struct Alone {
    name: String,
    value: f64,
    unit: String,
}

/// Where the figure of a goal is found.
enum Source {
    /// In `bench.json`: the first whose name begins so.
    Alone(&'static str),
    /// Microseconds of CPU an operation of a scenario, on Meridian.
    Cpu(&'static str),
    /// How often Meridian does a scenario's operation where Synapse does it once.
    RateRatio(&'static str),
    CpuRatio(&'static str),
    /// MiB of the server that has just started.
    MemoryEmpty,
}

#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64, &'static str),
    AtLeast(f64, &'static str),
}

/// What Meridian is drawn for.
const GOALS: &[(&str, Goal, Source)] = &[
    (
        "durable send, CPU",
        Goal::AtMost(90.0, "us"),
        Source::Alone("send, 64 writers, 64 rooms, CPU"),
    ),
    (
        "durable sends, rate beside Synapse",
        Goal::AtLeast(100.0, "x"),
        Source::RateRatio("send-many-rooms"),
    ),
    (
        "delivery at 500/s over a WebSocket, p50",
        Goal::AtMost(1.0, "ms"),
        Source::Alone("delivery at 500/s, WebSocket, p50"),
    ),
    (
        "delivery at 500/s over a WebSocket, p99",
        Goal::AtMost(5.0, "ms"),
        Source::Alone("delivery at 500/s, WebSocket, p99"),
    ),
    ("delivery, CPU beside Synapse", Goal::AtLeast(40.0, "x"), Source::CpuRatio("deliver-to-two")),
    ("fan-out, CPU a recipient", Goal::AtMost(6.0, "us"), Source::Alone("fan-out")),
    ("heartbeat over a WebSocket, CPU", Goal::AtMost(2.5, "us"), Source::Alone("heartbeat, CPU")),
    (
        "heartbeat, frame and table",
        Goal::AtLeast(400_000.0, "/s and core"),
        Source::Alone("heartbeats, frame and table"),
    ),
    (
        "allocations a heartbeat",
        Goal::AtMost(0.0, ""),
        Source::Alone("allocations a heartbeat, frame and table"),
    ),
    (
        "100,000 online, 1 % flap a second",
        Goal::AtMost(5.0, "% of a core"),
        Source::Alone("presence, 100000 users"),
    ),
    (
        "presence, CPU per watcher update",
        Goal::AtMost(0.5, "us"),
        Source::Alone("presence, CPU per watcher update"),
    ),
    ("idle WebSocket", Goal::AtMost(2048.0, "B"), Source::Alone("memory per idle socket")),
    ("no-op sync, CPU beside Synapse", Goal::AtLeast(100.0, "x"), Source::CpuRatio("no-op-sync")),
    (
        "waking sync, CPU beside Synapse",
        Goal::AtLeast(200.0, "x"),
        Source::CpuRatio("deliver-to-all"),
    ),
    ("initial sync of 1,000 rooms, CPU", Goal::AtMost(65_000.0, "us"), Source::Cpu("initial-sync")),
    ("first sliding window, CPU", Goal::AtMost(2000.0, "us"), Source::Cpu("sliding-window")),
    ("start, empty", Goal::AtMost(25.0, "ms"), Source::Alone("start-up, empty store")),
    ("memory at rest", Goal::AtMost(10.0, "MiB"), Source::MemoryEmpty),
    ("disk an event", Goal::AtMost(400.0, "B"), Source::Alone("disk per event, compacted")),
];

/// The page of the results in a directory: `compare.json`, and `bench.json`, `presence.json`,
/// `notes.md` if they are there.
pub(super) fn of(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join("compare.json");
    let results = fs::read(&path).with_context(|| path.display().to_string())?;
    let results: Results = serde_json::from_slice(&results).context("compare.json")?;
    let alone = figures(directory, "bench.json")?;
    let in_process = figures(directory, "presence.json")?;
    let notes = fs::read_to_string(directory.join("notes.md")).unwrap_or_default();
    let mut page = method(&results);
    page.push_str("\n## Beside Synapse\n\n");
    page.push_str(&table(&results));
    page.push_str(&failures(&results));
    page.push_str("\n## The goals\n\n| what | goal | measured | |\n|---|---|---|---|\n");
    for (what, goal, source) in GOALS {
        let found = find(source, &results, &alone).or_else(|| find(source, &results, &in_process));
        page.push_str(&row(what, *goal, found));
    }
    if !alone.is_empty() {
        page.push_str(
            "\n## Meridian alone\n\n`load bench`, where the load generator shares the cores.\n\n",
        );
        page.push_str(&list(&alone));
    }
    if !in_process.is_empty() {
        page.push_str(
            "\n## Presence alone\n\n`costs presence`: what knowing who is there costs the process that \
             knows it, in CPU of its one thread, without sockets and without what is sent to those who \
             watch.\n\n",
        );
        page.push_str(&list(&in_process));
    }
    page.push('\n');
    page.push_str(&notes);
    Ok(page)
}

/// None where the file is missing: then nothing of it was measured.
fn figures(directory: &Path, file: &str) -> anyhow::Result<Vec<Alone>> {
    match fs::read(directory.join(file)) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| file.to_owned()),
        Err(_) => Ok(Vec::new()),
    }
}

fn list(figures: &[Alone]) -> String {
    let mut list = "| what | figure |\n|---|---|\n".to_owned();
    for Alone { name, value, unit } in figures {
        let _ = writeln!(list, "| {name} | {} {unit} |", number(*value));
    }
    list
}

fn method(results: &Results) -> String {
    let Results {
        when,
        commit,
        processor,
        cores,
        load_before,
        seconds,
        pairs,
        members,
        rooms,
        took_seconds,
        ..
    } = results;
    format!(
        "# Performance\n\n\
         Generated by `cargo xtask bench --against synapse` from what it measured; the raw figures are \
         in `docs/performance/`.\n\n\
         ## How it was measured\n\n\
         On {when} at commit {commit}: {processor}, {cores} cores, load average {load_before} when it \
         began. Both servers and the load generator ran on this machine, over loopback without TLS. \
         Meridian with its embedded store; Synapse 1.163 with PostgreSQL 15, `fsync` and \
         `synchronous_commit` on, in one process; limits on rates off in both. Each holds {members} \
         users and {rooms} rooms. For each scenario the servers took turns, {pairs} times {seconds} s \
         each; a figure is the median, and a ratio is taken pair by pair. All of it took \
         {took_seconds} s. CPU is that of all processes \
         of a server, the database included, in user and kernel. In closed loops the latency is that of \
         a server which is as busy as it can be; deliveries are timed from the moment that a message \
         was due.\n"
    )
}

/// The comparison, a line per scenario.
pub(super) fn table(results: &Results) -> String {
    let mut table = String::from(
        "| operation | server | per second | CPU | p50 | p99 | CPU, Synapse / Meridian (min–max) |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for scenario in &results.scenarios {
        for (index, server) in results.servers.iter().enumerate() {
            let what = if index == 0 { scenario.what.as_str() } else { "" };
            let figure = |of| scenario.median(index, of).map_or_else(|| "–".to_owned(), number);
            let missed: u64 = scenario.of_server(index).map(|figures| figures.missed).sum();
            let missed =
                if missed > 0 { format!(" ({missed} did not arrive)") } else { String::new() };
            let _ = writeln!(
                table,
                "| {what} | {}{missed} | {} | {} us | {} ms | {} ms | {} |",
                server.name,
                figure(|figures| Some(figures.per_second)),
                figure(|figures| Some(figures.cpu_us)),
                figure(Figures::p50),
                figure(Figures::p99),
                if index == 0 { spread(scenario) } else { String::new() },
            );
        }
    }
    table.push_str("\n| server | start, empty | memory, empty | memory, with users and rooms |\n|---|---|---|---|\n");
    for server in &results.servers {
        let _ = writeln!(
            table,
            "| {} | {} ms | {} MiB | {} MiB |",
            server.name,
            number(server.start_up_ms),
            number(server.memory_empty),
            number(server.memory_filled)
        );
    }
    table
}

/// What is missing from the table, or rests on fewer slices.
pub(super) fn failures(results: &Results) -> String {
    let of = |scenario: &Measured| {
        let name = scenario.name.clone();
        scenario.failures.clone().into_iter().map(move |why| format!("- `{name}`: {why}\n"))
    };
    let lines: String = results.scenarios.iter().flat_map(of).collect();
    if lines.is_empty() { lines } else { format!("\nWhat failed or was left out:\n\n{lines}") }
}

fn spread(scenario: &Measured) -> String {
    let ratios = scenario.ratios();
    let least = ratios.iter().copied().reduce(f64::min);
    let most = ratios.iter().copied().reduce(f64::max);
    match (median(ratios), least, most) {
        (Some(median), Some(least), Some(most)) => {
            format!("**{}** ({}–{})", number(median), number(least), number(most))
        }
        _ => "–".to_owned(),
    }
}

fn find(source: &Source, results: &Results, alone: &[Alone]) -> Option<f64> {
    let scenario = |name: &str| results.scenarios.iter().find(|scenario| scenario.name == name);
    match source {
        Source::Alone(prefix) => {
            alone.iter().find(|figure| figure.name.starts_with(prefix)).map(|figure| figure.value)
        }
        Source::Cpu(name) => scenario(name)?.median(0, |figures| Some(figures.cpu_us)),
        Source::CpuRatio(name) => median(scenario(name)?.ratios()),
        Source::RateRatio(name) => {
            let rate = |server| scenario(name)?.median(server, |figures| Some(figures.per_second));
            Some(rate(0)? / rate(1)?)
        }
        Source::MemoryEmpty => results.servers.first().map(|server| server.memory_empty),
    }
}

fn row(what: &str, goal: Goal, measured: Option<f64>) -> String {
    let (sign, bound, unit) = match goal {
        Goal::AtMost(bound, unit) => ("at most", bound, unit),
        Goal::AtLeast(bound, unit) => ("at least", bound, unit),
    };
    let goal_text = format!("{sign} {} {unit}", number(bound));
    let Some(measured) = measured else {
        return format!("| {what} | {goal_text} | not measured | |\n");
    };
    let met = match goal {
        Goal::AtMost(bound, _) => measured <= bound,
        Goal::AtLeast(bound, _) => measured >= bound,
    };
    let verdict =
        if met { "met".to_owned() } else { format!("missed: {}", missed(goal, measured)) };
    format!("| {what} | {goal_text} | {} {unit} | {verdict} |\n", number(measured))
}

fn missed(goal: Goal, measured: f64) -> String {
    match goal {
        Goal::AtMost(0.0, _) => "the goal is none".to_owned(),
        Goal::AtMost(bound, _) => format!("{:.1} times the goal", measured / bound),
        Goal::AtLeast(bound, _) => format!("{:.0} % of the goal", 100.0 * measured / bound),
    }
}

/// Three digits, or all of a larger number.
fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::world::Size;

    #[test]
    fn what_failed_is_on_the_page() {
        let size = Size { members: 2, rooms: 1 };
        let mut results = Results::begin(1, 1, size, Vec::new()).expect("a machine");
        let mut measured = Measured::new("typing", "a typing notification".to_owned());
        results.scenarios.push(Measured::new("login", "a login".to_owned()));
        assert_eq!(failures(&results), "");
        measured.failures.push("Synapse, slice 2: 500".to_owned());
        results.scenarios.push(measured);
        assert!(failures(&results).ends_with("- `typing`: Synapse, slice 2: 500\n"));
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        assert!(row("x", Goal::AtMost(90.0, "us"), Some(90.0)).ends_with("| met |\n"));
        let missed = row("x", Goal::AtMost(400.0, "B"), Some(1506.0));
        assert!(missed.contains("1506 B") && missed.contains("3.8 times"), "{missed}");
        let missed = row("x", Goal::AtLeast(100.0, "x"), Some(50.0));
        assert!(missed.contains("50 % of the goal"), "{missed}");
        assert!(row("x", Goal::AtLeast(100.0, "x"), None).contains("not measured"));
    }
}
