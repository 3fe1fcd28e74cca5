//! What is counted exactly. A figure is a whole number, rounded up where
//! nothing else is said.

use std::io;

use anyhow::{Context as _, ensure};
use frames::codec::Decoder;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::{
    allocations,
    works::{Crowd, client_frame},
    world::World,
};

const SENDS: u64 = 1000;
const BEATS: u64 = 1000;
/// Between two crowds: the difference is what one more costs.
const LISTENERS: [usize; 2] = [50, 150];
const ROUNDS: u64 = 6;

type Counters = Vec<(&'static str, u64)>;

pub(crate) fn all() -> anyhow::Result<Counters> {
    // As the server does: counting is a part of the cost.
    let metrics = PrometheusBuilder::new().install_recorder().context("the recorder")?;
    let mut counters = Counters::new();
    sends(&mut counters, &metrics)?;
    deliveries(&mut counters)?;
    heartbeats(&mut counters)?;
    counters.sort_unstable();
    Ok(counters)
}

/// One after the other, so that none shares a flush.
fn sends(counters: &mut Counters, metrics: &PrometheusHandle) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let world = World::new(Some(directory.path()))?;
    let alice = world.user("alice")?;
    let room = world.room(&alice)?;
    // Tables come into being with their first row.
    world.say(&room, &alice, 0)?;
    let before = (flushes(metrics)?, Written::now()?, allocations::count());
    for number in 1..=SENDS {
        world.say(&room, &alice, number)?;
    }
    let after = (flushes(metrics)?, Written::now()?, allocations::count());
    counters.push(("flushes, 1000 sends one by one", after.0 - before.0));
    counters.push(("bytes written a send", (after.1.bytes - before.1.bytes).div_ceil(SENDS)));
    counters.push(("write calls, 1000 sends one by one", after.1.calls - before.1.calls));
    counters.push(("allocations a send", (after.2 - before.2).div_ceil(SENDS)));
    Ok(())
}

fn flushes(metrics: &PrometheusHandle) -> anyhow::Result<u64> {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix("meridian_store_flushes_total "));
    line.context("flushes are not counted")?.parse().context("a count of flushes")
}

/// By this process, whatever becomes of it: to files, pipes and what else there is.
struct Written {
    bytes: u64,
    calls: u64,
}

impl Written {
    fn now() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/self/io")?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().parse().ok())
        };
        let found = value("wchar:").zip(value("syscw:"));
        let (bytes, calls) = found.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { bytes, calls })
    }
}

/// A message to a room in which everybody listens.
fn deliveries(counters: &mut Counters) -> anyhow::Result<()> {
    let [few, many] = LISTENERS.map(allocations_to_tell);
    let (few, many) = (few?, many?);
    let more = (LISTENERS[1] - LISTENERS[0]) as u64;
    // To the nearest: now and then a task of the server's own falls into a round.
    let each = (many - few + more / 2) / more;
    counters.push(("allocations a delivery", each));
    Ok(())
}

fn allocations_to_tell(count: usize) -> anyhow::Result<u64> {
    let world = World::new(None)?;
    let alice = world.user("alice")?;
    let room = world.room(&alice)?;
    let mut listeners = Vec::new();
    for number in 0..count {
        let user = world.user(&format!("user{number}"))?;
        world.join(&room, &user)?;
        listeners.push(world.listener(&user)?);
    }
    // The first batch tells who joined; in some later round a map or a buffer grows.
    let mut least = u64::MAX;
    for number in 0..ROUNDS {
        let before = allocations::count();
        world.say(&room, &alice, number)?;
        for listener in &mut listeners {
            let body = world.deliver(listener)?;
            let wanted = format!("{number}th time").into_bytes();
            let found = body.windows(wanted.len()).any(|window| window == wanted);
            ensure!(found, "message {number} is not in the batch");
        }
        least = least.min(allocations::count() - before);
    }
    Ok(least)
}

fn heartbeats(counters: &mut Counters) -> anyhow::Result<()> {
    let crowd = Crowd::new(BEATS as usize)?;
    (0..BEATS).for_each(|number| crowd.beat(number));
    // Long enough that each counts, and short enough that nobody has been away.
    crowd.clock.advance(40_000);
    let before = allocations::count();
    (0..BEATS).for_each(|number| crowd.beat(number));
    counters.push(("allocations, 1000 heartbeats in the table", allocations::count() - before));

    let frame = client_frame(br#"{"method":"presence","params":{"active":true}}"#);
    let mut decoder = Decoder::new(1 << 16);
    let before = allocations::count();
    for _ in 0..BEATS {
        decoder.feed(&frame);
        ensure!(decoder.message()?.is_some(), "the frame is not understood");
    }
    counters.push(("allocations, 1000 heartbeat frames read", allocations::count() - before));
    Ok(())
}
