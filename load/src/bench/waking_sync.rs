//! A sync that waits until a message wakes it. What the send costs by itself is measured beside it
//! and taken off.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future;
use tokio::sync::mpsc;

use super::{
    many_rooms::Measured,
    report::{Latency, Report},
};
use crate::client::{Account, Client, Sync};

const LONG_POLL_MS: u32 = 20_000;
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);
const ROUNDS_MIN: u32 = 20;

pub(super) async fn measure(report: &mut Report, measured: &Measured<'_>) -> anyhow::Result<()> {
    let many = measured.many;
    let hall = Client::new(measured.address, &many.neighbours[0]).create_room().await?;
    for account in many.neighbours[1..].iter().chain([&many.account]) {
        Client::new(measured.address, account).join(&hall).await?;
    }
    let alone = rounds(measured, &hall, &[], "a").await?;
    let everybody = rounds(measured, &hall, &many.neighbours[1..], "b").await?;
    let heavy = rounds(measured, &hall, std::slice::from_ref(&many.account), "c").await?;
    let per_wake = |with: &Rounds, wakes: usize| (with.cpu_us - alone.cpu_us) / wakes.max(1) as f64;
    let others = many.neighbours.len() - 1;
    report.add("send that wakes nobody, CPU", alone.cpu_us, "us", None);
    let name = format!("waking sync, {others} wait in one room");
    report.add(&format!("{name}, CPU each"), per_wake(&everybody, others), "us", None);
    report.add_latency(&name, &everybody.latency, None);
    let name = format!("waking sync, account in {} rooms", many.rooms.len());
    report.add(&format!("{name}, CPU"), per_wake(&heavy, 1), "us", None);
    report.add_latency(&name, &heavy.latency, None);
    Ok(())
}

struct Rounds {
    /// Of a message and all that it woke.
    cpu_us: f64,
    latency: Latency,
}

/// One message after the other, each when everybody who waits has got the one before and waits
/// again.
async fn rounds(
    measured: &Measured<'_>,
    room: &str,
    waiting: &[Account],
    name: &str,
) -> anyhow::Result<Rounds> {
    println!("bench: a message that wakes {} syncs", waiting.len());
    let (told, mut arrivals) = mpsc::unbounded_channel();
    let mut pollers = Vec::with_capacity(waiting.len());
    for account in waiting {
        let mut client = Client::new(measured.address, account);
        let since = client.sync(None, 0).await.context("initial sync")?.next_batch;
        pollers.push(tokio::spawn(poll(client, since, told.clone())));
    }
    let mut sender = Client::new(measured.address, &measured.many.neighbours[0]);
    let mut latency = Latency::new();
    let (mut begin, mut cpu, mut count) = (Instant::now(), measured.server.cpu()?, 0);
    while begin.elapsed() < measured.time || count < ROUNDS_MIN {
        let sent = Instant::now();
        sender.send(room, &format!("wake{name}{count}"), &format!("{name}{count}")).await?;
        for _ in waiting {
            let arrived = tokio::time::timeout(ARRIVES_WITHIN, arrivals.recv()).await;
            let arrived: Arrived = arrived.context("a message woke nobody")?.context("gone")?;
            ensure!(arrived.text == format!("{name}{count}"), "{arrived:?} is not the newest");
            latency.record(arrived.at.saturating_duration_since(sent));
        }
        count += 1;
        if count == 1 {
            // The first round only brought everything into memory.
            (begin, cpu, latency) = (Instant::now(), measured.server.cpu()?, Latency::new());
        }
    }
    let cpu = (measured.server.cpu()? - cpu).as_secs_f64() * 1e6 / f64::from(count - 1);
    pollers.iter().for_each(|poller| poller.abort());
    // Aborted, or failed: then the round would not have ended.
    drop(future::join_all(pollers).await);
    Ok(Rounds { cpu_us: cpu, latency })
}

#[derive(Debug)]
struct Arrived {
    text: String,
    at: Instant,
}

async fn poll(
    mut client: Client,
    mut since: String,
    told: mpsc::UnboundedSender<Arrived>,
) -> anyhow::Result<()> {
    loop {
        let body = client.sync_bytes(Some(&since), LONG_POLL_MS).await?;
        let at = Instant::now();
        let batch: Sync = serde_json::from_slice(&body)?;
        since = batch.next_batch;
        for event in batch.rooms.join.into_values().flat_map(|room| room.timeline.events) {
            if let Some(text) = event.content.body {
                told.send(Arrived { text, at })?;
            }
        }
    }
}
