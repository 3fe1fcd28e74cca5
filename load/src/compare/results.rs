//! What a comparison found, as it is kept.

use std::{fs, process::Command, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{scenarios::Slice, world::Size};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    /// The day, UTC.
    pub(super) when: String,
    pub(super) commit: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    /// Processes that wanted to run in the minute before: 0 on a quiet machine.
    pub(super) load_before: f64,
    pub(super) seconds: u64,
    pub(super) pairs: u32,
    pub(super) members: usize,
    pub(super) rooms: usize,
    /// In the order of the figures of a round.
    pub(super) servers: Vec<Server>,
    pub(super) scenarios: Vec<Measured>,
    /// From the start of the servers to the last scenario, people and rooms included.
    pub(super) took_seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) start_up_ms: f64,
    /// Of all its processes in MiB, before and after the users and rooms were made.
    pub(super) memory_empty: f64,
    pub(super) memory_filled: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) rounds: Vec<Round>,
    /// Which slices failed or were left out, and why. After a failure the scenario is not repeated.
    pub(super) failures: Vec<String>,
}

/// The slices of one round, one per server; without figures where the slice failed.
pub(super) type Round = Vec<Option<Figures>>;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) operations: u64,
    pub(super) per_second: f64,
    /// Microseconds of CPU an operation.
    pub(super) cpu_us: f64,
    pub(super) missed: u64,
    /// Milliseconds at each of [`QUANTILES`]; empty where no latency is taken.
    pub(super) latency_ms: Vec<f64>,
}

pub(super) const QUANTILES: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];
const MEDIAN: usize = 2;
const NINETY_NINTH: usize = 6;

impl Results {
    pub(super) fn begin(
        seconds: u64,
        pairs: u32,
        size: Size,
        servers: Vec<Server>,
    ) -> anyhow::Result<Self> {
        let load = fs::read_to_string("/proc/loadavg")?;
        let load_before = load.split(' ').next().context("/proc/loadavg")?.parse()?;
        let information = fs::read_to_string("/proc/cpuinfo")?;
        let processor = information.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = processor.unwrap_or_default().trim_start_matches([' ', '\t', ':']);
        Ok(Self {
            when: output("date", &["-u", "+%Y-%m-%d"])?,
            commit: output("git", &["rev-parse", "--short", "HEAD"])?,
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            load_before,
            seconds,
            pairs,
            members: size.members,
            rooms: size.rooms,
            servers,
            scenarios: Vec::new(),
            took_seconds: 0,
        })
    }
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().context(program.to_owned())?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl Server {
    pub(super) fn new(name: &str, start_up: Duration, empty: u64, filled: u64) -> Self {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Self {
            name: name.to_owned(),
            start_up_ms: start_up.as_secs_f64() * 1000.0,
            memory_empty: mebibytes(empty),
            memory_filled: mebibytes(filled),
        }
    }
}

impl Measured {
    pub(super) fn new(name: &str, what: String) -> Self {
        Self { name: name.to_owned(), what, rounds: Vec::new(), failures: Vec::new() }
    }

    /// The figures of a server, one for each of its slices that came to its end.
    pub(super) fn of_server(&self, server: usize) -> impl Iterator<Item = &Figures> {
        self.rounds.iter().filter_map(move |round| round.get(server)?.as_ref())
    }

    /// The median over the rounds of a figure of a server.
    pub(super) fn median(&self, server: usize, figure: fn(&Figures) -> Option<f64>) -> Option<f64> {
        median(self.of_server(server).filter_map(figure).collect())
    }

    /// Milliseconds at each of [`QUANTILES`], the median over the rounds.
    pub(super) fn latencies(&self, server: usize) -> Vec<f64> {
        let at = |index: usize| {
            let all = self.of_server(server).filter_map(|figures| figures.latency_ms.get(index));
            median(all.copied().collect())
        };
        (0..QUANTILES.len()).map_while(at).collect()
    }

    /// How much more CPU the second server takes than the first, for each pair.
    pub(super) fn ratios(&self) -> Vec<f64> {
        let pairs = self
            .rounds
            .iter()
            .filter_map(|round| Some((round.first()?.as_ref()?, round.get(1)?.as_ref()?)));
        pairs
            .filter(|(first, _)| first.cpu_us > 0.0)
            .map(|(first, second)| second.cpu_us / first.cpu_us)
            .collect()
    }
}

impl Figures {
    pub(super) fn of(slice: &Slice) -> Self {
        let operations = slice.operations.max(1) as f64;
        let counted = slice.latency.count() > 0;
        Self {
            operations: slice.operations,
            per_second: slice.operations as f64 / slice.took.as_secs_f64(),
            cpu_us: slice.cpu.as_secs_f64() * 1e6 / operations,
            missed: slice.missed,
            latency_ms: if counted {
                QUANTILES.iter().map(|quantile| slice.latency.milliseconds(*quantile)).collect()
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn p50(&self) -> Option<f64> {
        self.latency_ms.get(MEDIAN).copied()
    }

    pub(super) fn p99(&self) -> Option<f64> {
        self.latency_ms.get(NINETY_NINTH).copied()
    }
}

/// Of an even number the upper of the two in the middle.
pub(super) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu_us: f64) -> Figures {
        Figures { operations: 1, per_second: 1.0, cpu_us, missed: 0, latency_ms: Vec::new() }
    }

    #[test]
    fn ratios_are_of_the_pairs() {
        let mut measured = Measured::new("send", "a send".to_owned());
        for (first, second) in [(10.0, 1000.0), (20.0, 1000.0), (10.0, 1500.0)] {
            measured.rounds.push(vec![Some(figures(first)), Some(figures(second))]);
        }
        // A slice that failed leaves nothing behind that counts.
        measured.rounds.push(vec![Some(figures(10.0)), None]);
        assert_eq!(measured.ratios(), [100.0, 50.0, 150.0]);
        assert_eq!(median(measured.ratios()), Some(100.0));
        assert_eq!(measured.median(0, |figures| Some(figures.cpu_us)), Some(10.0));
        assert_eq!(measured.median(0, Figures::p99), None);
    }
}
