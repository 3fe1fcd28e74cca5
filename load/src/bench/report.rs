//! The figures of a run, as a table for people and as JSON for comparison.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figure that the design asks for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
}

#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Figure>);

/// Measures in a directory of its own, which is gone afterwards. Prints what came out, and writes it
/// as JSON where that is wanted.
pub(crate) async fn print(
    name: &str,
    json: Option<&Path>,
    measure: impl AsyncFnOnce(PathBuf) -> anyhow::Result<Report>,
) -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("meridian-{name}-{}", std::process::id()));
    let result = measure(directory.clone()).await;
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let report = result?;
    print!("{report}");
    if let Some(path) = json {
        fs::write(path, serde_json::to_vec_pretty(&report.figures())?)?;
    }
    Ok(())
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(formatter, "<= {most}"),
            Self::AtLeast(least) => write!(formatter, ">= {least}"),
        }
    }
}

impl Report {
    pub(crate) fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &'static str,
        target: Option<Target>,
    ) {
        self.0.push(Figure { name: name.to_owned(), value, unit, target });
    }

    /// Percentiles of a latency. The target is for the 99th.
    pub(crate) fn add_latency(&mut self, name: &str, latency: &Latency, target: Option<Target>) {
        for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let value = latency.milliseconds(quantile);
            let target = target.filter(|_| label == "p99");
            self.add(&format!("{name}, {label}"), value, "ms", target);
        }
    }

    pub(crate) fn figures(&self) -> &[Figure] {
        &self.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.0 {
            let Figure { name, value, unit, target } = figure;
            write!(formatter, "{name:<48} {value:>12.2} {unit:<5}")?;
            match target {
                Some(target) if target.is_met(*value) => writeln!(formatter, " ({target}: met)")?,
                Some(target) => writeln!(formatter, " ({target}: MISSED)")?,
                None => writeln!(formatter)?,
            }
        }
        Ok(())
    }
}

/// An hour; what takes longer counts as that.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// A latency distribution in microseconds.
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
        Self(histogram.expect("bounds and digits are in the histogram's range"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn milliseconds(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_judged_in_their_direction() {
        assert!(Target::AtMost(150.0).is_met(150.0));
        assert!(!Target::AtMost(150.0).is_met(150.1));
        assert!(Target::AtLeast(5000.0).is_met(5000.0));
        assert!(!Target::AtLeast(5000.0).is_met(4999.0));
    }

    #[test]
    fn latencies_merge_into_percentiles() {
        let (mut fast, mut slow) = (Latency::new(), Latency::new());
        for _ in 0..99 {
            fast.record(Duration::from_millis(1));
        }
        slow.record(Duration::from_millis(100));
        fast.merge(&slow);
        let mut report = Report::default();
        report.add_latency("send", &fast, Some(Target::AtMost(20.0)));
        let text = report.to_string();
        assert_eq!(fast.count(), 100);
        assert!(text.contains("send, p99") && text.contains("met"), "{text}");
        assert!(report.figures()[3].value > 99.0);
    }
}
