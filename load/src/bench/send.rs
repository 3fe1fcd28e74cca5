//! Durable sends in a closed loop: each writer sends its next message when the last one was
//! acknowledged, so the writers of all rooms share the flushes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future;
use rand::RngExt as _;
use tokio::task::JoinHandle;

use super::{
    population::Population,
    report::{Latency, Report, Target},
};
use crate::{client::Client, server::Server};

/// Connections open and caches fill before the measurement begins.
const WARM_UP: Duration = Duration::from_secs(1);

const CPU_TARGET_US: f64 = 150.0;
const RATE_TARGET: f64 = 5000.0;

pub(crate) struct Sends {
    latency: Latency,
    took: Duration,
    cpu: Duration,
    /// Those of the warm-up included.
    all: u64,
}

impl Sends {
    pub(crate) fn count(&self) -> u64 {
        self.all
    }

    pub(crate) fn report(&self, report: &mut Report, name: &str, with_targets: bool) {
        let count = self.latency.count().max(1) as f64;
        let target = |target| with_targets.then_some(target);
        let rate = count / self.took.as_secs_f64();
        report.add(name, rate, "/s", target(Target::AtLeast(RATE_TARGET)));
        let cpu = self.cpu.as_secs_f64() * 1e6 / count;
        report.add(&format!("{name}, CPU"), cpu, "us", target(Target::AtMost(CPU_TARGET_US)));
        report.add_latency(name, &self.latency, None);
    }
}

/// Writer `n` is user `n` and sends to room `n`.
pub(crate) async fn measure(
    time: Duration,
    server: &Server,
    crowd: &Population,
    rooms: &[String],
) -> anyhow::Result<Sends> {
    let measuring = Arc::new(AtomicBool::new(false));
    let end = Instant::now() + WARM_UP + time;
    let writers: Vec<JoinHandle<anyhow::Result<(Latency, u64)>>> = crowd
        .accounts
        .iter()
        .zip(rooms)
        .map(|(account, room)| {
            let client = Client::new(crowd.address, account);
            tokio::spawn(write_until(end, client, room.clone(), Arc::clone(&measuring)))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (begin, cpu) = (Instant::now(), server.cpu()?);
    measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep_until(end.into()).await;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    let mut sends = Sends { latency: Latency::new(), took, cpu, all: 0 };
    for writer in future::try_join_all(writers).await? {
        let (latency, all) = writer?;
        sends.latency.merge(&latency);
        sends.all += all;
    }
    Ok(sends)
}

async fn write_until(
    end: Instant,
    mut client: Client,
    room: String,
    measuring: Arc<AtomicBool>,
) -> anyhow::Result<(Latency, u64)> {
    let mut latency = Latency::new();
    let mut all = 0;
    let prefix: u64 = rand::rng().random();
    while Instant::now() < end {
        let counts = measuring.load(Ordering::Relaxed);
        let begin = Instant::now();
        client.send(&room, &format!("{prefix:x}n{all}"), TEXT).await?;
        all += 1;
        if counts && Instant::now() < end {
            latency.record(begin.elapsed());
        }
    }
    Ok((latency, all))
}

/// About the length of a chat message.
const TEXT: &str = "The ferry leaves at ten past six from the second pier; bring the blue folder.";

/// Sends `count` more messages.
pub(crate) async fn fill(crowd: &Population, rooms: &[String], count: u64) -> anyhow::Result<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let writers: Vec<JoinHandle<anyhow::Result<()>>> = crowd
        .accounts
        .iter()
        .zip(rooms)
        .map(|(account, room)| {
            let mut client = Client::new(crowd.address, account);
            let (room, sent) = (room.clone(), Arc::clone(&sent));
            tokio::spawn(async move {
                let prefix: u64 = rand::rng().random();
                loop {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(());
                    }
                    client.send(&room, &format!("{prefix:x}n{number}"), TEXT).await?;
                }
            })
        })
        .collect();
    for writer in future::try_join_all(writers).await? {
        writer?;
    }
    Ok(count)
}
