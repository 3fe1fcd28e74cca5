//! Memory of an idle WebSocket: the slope of the server's resident memory between few and many
//! sockets that have synced and then have nothing to do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinHandle;

use super::{
    population::Population,
    report::{Report, Target},
};
use crate::{client::Account, server::Server, socket::Socket};

/// The protocol allows one device that many.
pub(super) const SOCKETS_PER_USER: usize = 8;
const TARGET_BYTES: f64 = 4096.0;
const AT_ONCE: usize = 32;
/// Memory counts as settled when it stayed the same for this long.
const SETTLED: Duration = Duration::from_secs(1);
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
const FIRST_BATCH_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const FILES_WANTED: u64 = 65_536;

/// Sockets are files: without this a usual machine allows 1024. The server inherits it.
pub(super) fn raise_file_limit() -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let limit = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile", "--noheadings", "--raw", "--output=HARD"])
        .output()
        .context("prlimit")?;
    let hard = String::from_utf8(limit.stdout)?.trim().parse().unwrap_or(u64::MAX);
    let nofile = format!("--nofile={}:", hard.min(FILES_WANTED));
    let status = Command::new("prlimit").args(["--pid", &pid, &nofile]).status()?;
    ensure!(status.success(), "prlimit {nofile}: {status}");
    Ok(())
}

/// The users of the sockets.
pub(super) async fn register(many: usize, address: SocketAddr) -> anyhow::Result<Population> {
    println!("bench: registering the users of {many} idle sockets");
    Population::create(address, "idle", many.div_ceil(SOCKETS_PER_USER)).await
}

pub(super) async fn measure(
    report: &mut Report,
    many: usize,
    server: &Server,
    address: SocketAddr,
    crowd: &Population,
) -> anyhow::Result<()> {
    let few = many / 9;
    println!("bench: memory of idle sockets, {few} to {many}");
    let mut idle = open(address, &crowd.accounts, 0..few).await?;
    let before = settled(server).await?;
    idle.extend(open(address, &crowd.accounts, few..many).await?);
    let after = settled(server).await?;
    let broken = idle.iter().filter(|socket| socket.is_finished()).count();
    ensure!(broken == 0, "{broken} of {many} idle sockets were closed");
    let slope = (after as f64 - before as f64) / (many - few) as f64;
    if slope > 0.0 {
        let name = format!("memory per idle socket, {few} to {many}");
        report.add(&name, slope, "B", Some(Target::AtMost(TARGET_BYTES)));
    } else {
        println!("bench: {many} sockets took no more memory than {few}: too few to measure");
    }
    for socket in idle {
        socket.abort();
    }
    Ok(())
}

/// Opens sockets with these numbers. Each is read for as long as its task lives: an idle client
/// still answers pings.
async fn open(
    address: SocketAddr,
    accounts: &[Account],
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
    stream::iter(numbers)
        .map(|number| async move {
            let account = &accounts[number / SOCKETS_PER_USER];
            let mut socket = Socket::open_from(address, source(number), account).await?;
            socket.start_sync(None).await?;
            let first = tokio::time::timeout(FIRST_BATCH_WITHIN, socket.next());
            let first = first.await.context("no first batch")??;
            socket.acknowledge(first.seq.context("the first batch has a number")?).await?;
            anyhow::Ok(tokio::spawn(async move {
                loop {
                    let frame = socket.next().await?;
                    if let Some(seq) = frame.seq {
                        socket.acknowledge(seq).await?;
                    }
                }
            }))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("open an idle socket")
}

/// 127.0.0.2 and up, a thousand sockets each.
pub(super) fn source(number: usize) -> Ipv4Addr {
    let host = u8::try_from(2 + number / 1000).unwrap_or(254);
    Ipv4Addr::new(127, 0, 0, host)
}

async fn settled(server: &Server) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let (mut last, mut since) = (server.resident()?, Instant::now());
    while since.elapsed() < SETTLED && begin.elapsed() < SETTLE_WITHIN {
        tokio::time::sleep(POLL).await;
        let now = server.resident()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}
