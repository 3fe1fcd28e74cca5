//! Heartbeats: every socket says now and then that somebody is there. Each is a frame of its own on a
//! connection of its own, so the server pays for a wake and a read each time.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use serde_json::json;

use super::{
    Scale,
    population::Population,
    report::{Report, Target},
    sockets::{self, SOCKETS_PER_USER},
};
use crate::{server::Plan, socket::Socket};

/// 400,000 a second and core.
const CPU_TARGET_US: f64 = 2.5;
const SOCKETS_MAX: usize = 4000;
const AT_ONCE: usize = 64;
/// Sockets are shared out among tasks, so that both cores can write.
const TASKS: usize = 4;

/// On a server of its own.
pub(super) async fn measure(report: &mut Report, scale: &Scale, plan: &Plan) -> anyhow::Result<()> {
    let (server, _) = plan.start().await?;
    let count = scale.sockets.min(SOCKETS_MAX);
    println!("bench: heartbeats of {count} sockets");
    let users = count.div_ceil(SOCKETS_PER_USER);
    let crowd = Population::create(plan.address, "beat", users).await?;
    let open: Vec<Socket> = stream::iter(0..count)
        .map(|number| {
            let account = &crowd.accounts[number / SOCKETS_PER_USER];
            Socket::open_from(plan.address, sockets::source(number), account)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut shares: Vec<Vec<Socket>> = (0..TASKS).map(|_| Vec::new()).collect();
    for (number, socket) in open.into_iter().enumerate() {
        shares[number % TASKS].push(socket);
    }
    let shares = beat_all(shares, Duration::from_millis(500)).await?.1;
    let (begin, cpu) = (Instant::now(), server.cpu()?);
    let beats = beat_all(shares, scale.time).await?.0;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    report.add("heartbeats", beats as f64 / took.as_secs_f64(), "/s", None);
    let each = cpu.as_secs_f64() * 1e6 / beats as f64;
    report.add("heartbeat, CPU", each, "us", Some(Target::AtMost(CPU_TARGET_US)));
    Ok(())
}

/// How many there were, and the sockets again.
async fn beat_all(
    shares: Vec<Vec<Socket>>,
    time: Duration,
) -> anyhow::Result<(u64, Vec<Vec<Socket>>)> {
    let end = Instant::now() + time;
    let tasks = shares.into_iter().map(|sockets| tokio::spawn(beat(sockets, end)));
    let (mut beats, mut shares) = (0, Vec::new());
    for done in future::try_join_all(tasks).await? {
        let (count, sockets) = done?;
        beats += count;
        shares.push(sockets);
    }
    Ok((beats, shares))
}

/// Round after round, one beat on each socket. What a socket has sent was read when a request
/// behind it is answered, so a round ends with one on the last socket, and all end with one on each.
async fn beat(mut sockets: Vec<Socket>, end: Instant) -> anyhow::Result<(u64, Vec<Socket>)> {
    let mut beats = 0;
    while Instant::now() < end {
        for socket in &mut sockets {
            socket.notify("presence", json!({ "active": true })).await?;
            beats += 1;
        }
        if let Some(last) = sockets.last_mut() {
            last.round_trip().await?;
        }
    }
    for socket in &mut sockets {
        socket.round_trip().await?;
    }
    Ok((beats, sockets))
}
