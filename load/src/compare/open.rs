//! Open loops: something happens at moments that are fixed beforehand, and others wait for it. The
//! clock of a message starts when it was due: a server that stalls is not excused by a sender that
//! waits for it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future;
use rand::RngExt as _;
use tokio::task::JoinSet;

use super::{contender::Contender, scenarios::Slice, world::World};
use crate::{
    bench::report::Latency,
    client::{Account, Client, Sync},
};

/// The receivers need a moment to be waiting when the first is due.
const LEAD: Duration = Duration::from_secs(1);
/// After the last was due, what is still on its way has this long.
const GRACE: Duration = Duration::from_secs(20);
const LONG_POLL_MS: u32 = 10_000;

/// What happens, and how often.
pub(super) struct Signal {
    /// Messages go there; without a room somebody's presence changes.
    room: Option<String>,
    every: Duration,
}

impl Signal {
    pub(super) fn message(room: &str, every: Duration) -> Self {
        Self { room: Some(room.to_owned()), every }
    }

    pub(super) fn presence(every: Duration) -> Self {
        Self { room: None, every }
    }
}

#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    every: Duration,
    count: u32,
    /// Tells the messages of this slice from those of others.
    salt: u32,
}

impl Schedule {
    fn due(&self, number: u32) -> Instant {
        self.begin + self.every * number
    }
}

/// The first person sends or flaps; `receivers` long-poll.
pub(super) async fn run(
    world: &World,
    contender: &Contender,
    time: Duration,
    receivers: &[Account],
    signal: Signal,
) -> anyhow::Result<Slice> {
    let count = u32::try_from(time.as_millis() / signal.every.as_millis())?.max(1);
    let waiting = future::try_join_all(receivers.iter().map(|account| async {
        let mut client = world.client(account);
        let since = client.sync(None, 0).await.context("initial sync")?.next_batch;
        anyhow::Ok((client, since))
    }))
    .await?;
    let schedule = Schedule {
        begin: Instant::now() + LEAD,
        every: signal.every,
        count,
        salt: rand::rng().random(),
    };
    let expected = if signal.room.is_some() { count } else { 0 };
    let mut listening = JoinSet::new();
    for (client, since) in waiting {
        listening.spawn(listen(client, since, schedule, expected));
    }
    tokio::time::sleep_until(schedule.begin.into()).await;
    let (begin, cpu) = (Instant::now(), contender.cpu()?);
    let sender = world.client(&world.people()[0]);
    happen(sender, &signal, schedule).await?;
    let mut latency = Latency::new();
    while let Some(listener) = listening.join_next().await {
        latency.merge(&listener??);
    }
    let (took, cpu) = (begin.elapsed(), contender.cpu()?.saturating_sub(cpu));
    let wanted = u64::from(expected) * receivers.len() as u64;
    let missed = wanted.saturating_sub(latency.count());
    let operations = if expected == 0 { u64::from(count) } else { latency.count() };
    Ok(Slice { operations, took, cpu, latency, missed })
}

/// A number that is late does not put off those behind it: each is sent by a task of its own.
async fn happen(mut client: Client, signal: &Signal, schedule: Schedule) -> anyhow::Result<()> {
    let Some(room) = &signal.room else {
        for number in 0..schedule.count {
            tokio::time::sleep_until(schedule.due(number).into()).await;
            let state = if number.is_multiple_of(2) { "unavailable" } else { "online" };
            client.set_presence(state).await.context("presence")?;
        }
        return Ok(());
    };
    let mut sending = JoinSet::new();
    for number in 0..schedule.count {
        tokio::time::sleep_until(schedule.due(number).into()).await;
        let (mut client, room) = (client.again(), room.clone());
        let text = format!("{}/{number}", schedule.salt);
        sending.spawn(async move {
            let transaction = text.replace('/', "n");
            client.send(&room, &transaction, &text).await.context("send").map(drop)
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

/// Polls until everything has arrived or the grace is over; where nothing is counted, until the
/// last was due.
async fn listen(
    mut client: Client,
    mut since: String,
    schedule: Schedule,
    expected: u32,
) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    let last = schedule.due(schedule.count);
    let deadline = if expected == 0 { last } else { last + GRACE };
    let work = async {
        while expected == 0 || latency.count() < u64::from(expected) {
            let body = client.sync_bytes(Some(&since), LONG_POLL_MS).await.context("sync")?;
            let arrived = Instant::now();
            let batch: Sync = serde_json::from_slice(&body)?;
            record(&batch, arrived, schedule, &mut latency);
            since = batch.next_batch;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(Err(error)) => Err(error),
        // The caller counts what is missing.
        Ok(Ok(())) | Err(_) => Ok(latency),
    }
}

fn record(batch: &Sync, arrived: Instant, schedule: Schedule, latency: &mut Latency) {
    let events = batch.rooms.join.values().flat_map(|room| &room.timeline.events);
    for text in events.filter_map(|event| event.content.body.as_deref()) {
        let Some((salt, number)) = text.split_once('/') else { continue };
        if salt.parse() == Ok(schedule.salt)
            && let Ok(number) = number.parse()
        {
            latency.record(arrived.saturating_duration_since(schedule.due(number)));
        }
    }
}
