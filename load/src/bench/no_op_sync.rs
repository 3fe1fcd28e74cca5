//! The commonest request of all: an incremental sync that has nothing to tell.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::future;

use super::report::{Latency, Report, Target};
use crate::{
    client::{Account, Client},
    server::Server,
};

const CONNECTIONS: usize = 8;
const CPU_TARGET_US: f64 = 40.0;

pub(super) async fn measure(
    report: &mut Report,
    time: Duration,
    server: &Server,
    account: &Account,
    address: SocketAddr,
) -> anyhow::Result<()> {
    println!("bench: no-op sync");
    let first = Client::new(address, account).sync(None, 0).await.context("initial sync")?;
    let since = Client::new(address, account).sync(Some(&first.next_batch), 0).await?.next_batch;
    let (begin, cpu) = (Instant::now(), server.cpu()?);
    let pollers = (0..CONNECTIONS).map(|_| {
        let (client, since) = (Client::new(address, account), since.clone());
        tokio::spawn(poll_until(begin + time, client, since))
    });
    let pollers = future::try_join_all(pollers).await?;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    let mut latency = Latency::new();
    for poller in pollers {
        latency.merge(&poller?);
    }
    let count = latency.count().max(1) as f64;
    let name = "no-op sync";
    report.add(name, count / took.as_secs_f64(), "/s", None);
    let cpu = cpu.as_secs_f64() * 1e6 / count;
    report.add(&format!("{name}, CPU"), cpu, "us", Some(Target::AtMost(CPU_TARGET_US)));
    report.add_latency(name, &latency, None);
    Ok(())
}

async fn poll_until(end: Instant, mut client: Client, since: String) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    while Instant::now() < end {
        let begin = Instant::now();
        client.sync_bytes(Some(&since), 0).await?;
        latency.record(begin.elapsed());
    }
    Ok(latency)
}
