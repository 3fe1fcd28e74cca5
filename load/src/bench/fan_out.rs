//! One message to very many sockets in one room; then all of those sockets are cut and come back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Scale,
    population::Population,
    report::{Latency, Report, Target},
    sockets::{self, SOCKETS_PER_USER},
};
use crate::{
    client::Client,
    server::{Plan, Server},
    socket::{Frame, Socket},
};

const CPU_TARGET_US: f64 = 6.0;
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 64;
const ROUNDS_MIN: u32 = 5;

/// On a server of its own, whose memory holds nothing else.
pub(super) async fn measure(report: &mut Report, scale: &Scale, plan: &Plan) -> anyhow::Result<()> {
    let (server, _) = plan.start().await?;
    let count = scale.sockets;
    println!("bench: fan-out, registering the users of {count} sockets");
    let users = count.div_ceil(SOCKETS_PER_USER);
    let crowd = Population::create(plan.address, "fan", users).await?;
    let room = Client::new(plan.address, &crowd.accounts[0]).create_room().await?;
    join(&crowd, &room).await?;
    let mut sender = Client::new(plan.address, &crowd.accounts[0]);

    let mut positions = vec![None; count];
    let (told, mut arrivals) = mpsc::unbounded_channel();
    println!("bench: opening {count} sockets");
    let listening = open(plan.address, &crowd, &positions, &told).await?;
    // The first batch of each.
    await_all(&mut arrivals, &mut positions, |_| ()).await?;
    deliver(report, scale, &server, &mut sender, &room, (&mut arrivals, &mut positions)).await?;
    listening.iter().for_each(JoinHandle::abort);

    // So that there is something to tell those who come back.
    sender.send(&room, "missed", "missed").await?;
    println!("bench: {count} sockets come back");
    let (begin, cpu) = (Instant::now(), server.cpu()?);
    let listening = open(plan.address, &crowd, &positions, &told).await?;
    await_all(&mut arrivals, &mut positions, |_| ()).await?;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    let name = format!("{count} sockets come back");
    report.add(&name, took.as_secs_f64(), "s", None);
    let each = cpu.as_secs_f64() * 1e6 / count as f64;
    report.add(&format!("{name}, CPU each"), each, "us", None);
    listening.iter().for_each(JoinHandle::abort);
    Ok(())
}

async fn join(crowd: &Population, room: &str) -> anyhow::Result<()> {
    stream::iter(&crowd.accounts[1..])
        .map(|account| async { Client::new(crowd.address, account).join(room).await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn deliver(
    report: &mut Report,
    scale: &Scale,
    server: &Server,
    sender: &mut Client,
    room: &str,
    (arrivals, positions): (&mut Arrivals, &mut Vec<Option<String>>),
) -> anyhow::Result<()> {
    let count = positions.len();
    println!("bench: fan-out to {count} sockets");
    let mut latency = Latency::new();
    let (mut begin, mut cpu, mut rounds) = (Instant::now(), server.cpu()?, 0);
    while begin.elapsed() < scale.time || rounds < ROUNDS_MIN {
        let sent = Instant::now();
        sender.send(room, &format!("fan{rounds}"), &format!("fan{rounds}")).await?;
        let record = |at: Instant| latency.record(at.saturating_duration_since(sent));
        await_all(arrivals, positions, record).await?;
        rounds += 1;
        if rounds == 1 {
            (begin, cpu, latency) = (Instant::now(), server.cpu()?, Latency::new());
        }
    }
    let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / f64::from(rounds - 1) / count as f64;
    let name = format!("fan-out to {count} sockets");
    let target = Some(Target::AtMost(CPU_TARGET_US));
    report.add(&format!("{name}, CPU per recipient"), cpu, "us", target);
    report.add_latency(&name, &latency, None);
    Ok(())
}

/// A batch at a socket.
struct Arrived {
    socket: usize,
    at: Instant,
    position: String,
}

type Arrivals = mpsc::UnboundedReceiver<Arrived>;

/// Waits for one batch at each socket, and no more than one.
async fn await_all(
    arrivals: &mut Arrivals,
    positions: &mut [Option<String>],
    mut record: impl FnMut(Instant),
) -> anyhow::Result<()> {
    let mut there = vec![false; positions.len()];
    let deadline = Instant::now() + ARRIVES_WITHIN;
    for count in 0..positions.len() {
        let arrived = tokio::time::timeout_at(deadline.into(), arrivals.recv()).await;
        let arrived = arrived.with_context(|| format!("only {count} sockets were told"))?;
        let Arrived { socket, at, position } = arrived.context("nobody listens")?;
        ensure!(!std::mem::replace(&mut there[socket], true), "socket {socket} was told twice");
        positions[socket] = Some(position);
        record(at);
    }
    Ok(())
}

async fn open(
    address: SocketAddr,
    crowd: &Population,
    positions: &[Option<String>],
    told: &mpsc::UnboundedSender<Arrived>,
) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
    stream::iter(positions.iter().enumerate())
        .map(|(number, since)| async move {
            let account = &crowd.accounts[number / SOCKETS_PER_USER];
            let mut socket = Socket::open_from(address, sockets::source(number), account).await?;
            socket.start_sync(since.as_deref()).await?;
            anyhow::Ok(tokio::spawn(listen(number, socket, told.clone())))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("open a socket")
}

async fn listen(
    number: usize,
    mut socket: Socket,
    told: mpsc::UnboundedSender<Arrived>,
) -> anyhow::Result<()> {
    loop {
        let Frame { seq, data, .. } = socket.next().await?;
        let at = Instant::now();
        if let (Some(seq), Some(batch)) = (seq, data) {
            socket.acknowledge(seq).await?;
            told.send(Arrived { socket: number, at, position: batch.next_batch })?;
        }
    }
}
