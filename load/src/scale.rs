//! `load scale`: what the whole system would need, computed from what one machine was measured to
//! need. A model of a node is simulated too, and held against the measured node.

mod capacity;
mod page;
mod simulation;

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The directory with the `bench.json` of a run
    #[arg(long, default_value = "docs/performance")]
    directory: PathBuf,
    /// The page to write; without it the page is printed
    #[arg(long)]
    output: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
}

/// What the model is made of. CPU in microseconds, memory and disk in bytes, times in milliseconds.
struct Measured {
    send_cpu: f64,
    /// A message at 500/s with two recipients over WebSockets, all included.
    message_cpu: f64,
    recipient_cpu: f64,
    heartbeat_cpu: f64,
    return_cpu: f64,
    socket_memory: f64,
    event_disk: f64,
    flush_p50: f64,
    flush_p99: f64,
    delivery_p50: f64,
    delivery_p99: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.directory.join("bench.json");
    let figures = fs::read(&path).with_context(|| {
        format!("{}: `cargo xtask bench --against synapse --write` makes it", path.display())
    })?;
    let figures: Vec<Figure> = serde_json::from_slice(&figures).context("bench.json")?;
    let page = page::of(&Measured::of(&figures)?, arguments.seed);
    match &arguments.output {
        Some(output) => fs::write(output, page)?,
        None => print!("{page}"),
    }
    Ok(())
}

impl Measured {
    fn of(figures: &[Figure]) -> anyhow::Result<Self> {
        let find = |begin: &str, end: &str| {
            figures
                .iter()
                .find(|figure| figure.name.starts_with(begin) && figure.name.ends_with(end))
                .map(|figure| figure.value)
                .with_context(|| format!("bench.json has no figure \"{begin}…{end}\""))
        };
        Ok(Self {
            send_cpu: find("send, 64 writers, 64 rooms", "CPU")?,
            message_cpu: find("delivery at 500/s, WebSocket", "CPU per message")?,
            recipient_cpu: find("fan-out to", "CPU per recipient")?,
            heartbeat_cpu: find("heartbeat", "CPU")?,
            return_cpu: find("", "sockets come back, CPU each")?,
            socket_memory: find("memory per idle socket", "")?,
            event_disk: find("disk per event", "")?,
            flush_p50: find("a flush of 4 KiB", "p50")?,
            flush_p99: find("a flush of 4 KiB", "p99")?,
            delivery_p50: find("delivery at 500/s, WebSocket", "p50")?,
            delivery_p99: find("delivery at 500/s, WebSocket", "p99")?,
        })
    }
}
