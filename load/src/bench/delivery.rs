//! From send to delivery at a fixed rate. The loop is open: a message's clock starts at the moment
//! that the schedule gives it, so a server that stalls is not excused by senders that wait for it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::future;
use tokio::task::JoinHandle;

use super::{
    population::Population,
    report::{Latency, Report, Target},
};
use crate::{
    client::{Account, Client, Sync},
    server::Server,
    socket::{Frame, Socket},
};

const RATE: u64 = 500;
const ROOMS: usize = 10;
const RECEIVERS_PER_ROOM: usize = 2;
const SENDERS: usize = 50;
const TARGET_MS: f64 = 20.0;
/// After the last message was due, what is still on its way has this long.
const GRACE: Duration = Duration::from_secs(10);
const LONG_POLL_MS: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    LongPoll,
    WebSocket,
}

/// When which message is due.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    count: u64,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        self.begin + Duration::from_micros(number * 1_000_000 / RATE)
    }

    fn end(&self) -> Instant {
        self.due(self.count)
    }
}

/// Returns how many messages were sent.
pub(super) async fn measure(
    report: &mut Report,
    time: Duration,
    server: &Server,
    address: SocketAddr,
    transport: Transport,
) -> anyhow::Result<u64> {
    println!("bench: delivery, {transport:?}, {RATE} messages/s");
    let prefix = format!("{transport:?}").to_lowercase();
    let users = ROOMS * (1 + RECEIVERS_PER_ROOM);
    let crowd = Population::create(address, &prefix, users).await?;
    let (senders, receivers) = crowd.accounts.split_at(ROOMS);
    let rooms = rooms(address, senders, receivers).await?;
    // The receivers need a moment to be waiting when the first message is due.
    let schedule =
        Schedule { begin: Instant::now() + Duration::from_secs(1), count: RATE * time.as_secs() };
    let listening: Vec<JoinHandle<anyhow::Result<Latency>>> = receivers
        .iter()
        .map(|account| tokio::spawn(listen(address, account.clone(), transport, schedule)))
        .collect();
    tokio::time::sleep_until(schedule.begin.into()).await;
    let cpu = server.cpu()?;
    let sending = (0..SENDERS).map(|number| {
        let client = Client::new(address, &senders[number % ROOMS]);
        tokio::spawn(send(client, rooms[number % ROOMS].clone(), number as u64, schedule))
    });
    for sender in future::try_join_all(sending).await? {
        sender?;
    }
    let mut latency = Latency::new();
    for listener in future::try_join_all(listening).await? {
        latency.merge(&listener?);
    }
    let cpu = server.cpu()? - cpu;
    let expected = schedule.count * RECEIVERS_PER_ROOM as u64;
    ensure!(latency.count() == expected, "{} of {expected} were delivered", latency.count());
    let name = format!("delivery at {RATE}/s, {transport:?}");
    report.add_latency(&name, &latency, Some(Target::AtMost(TARGET_MS)));
    let per_message = cpu.as_secs_f64() * 1e6 / schedule.count as f64;
    report.add(&format!("{name}, CPU per message"), per_message, "us", None);
    Ok(schedule.count)
}

async fn rooms(
    address: SocketAddr,
    senders: &[Account],
    receivers: &[Account],
) -> anyhow::Result<Vec<String>> {
    let mut rooms = Vec::with_capacity(senders.len());
    for (sender, receivers) in senders.iter().zip(receivers.chunks(RECEIVERS_PER_ROOM)) {
        let room = Client::new(address, sender).create_room().await?;
        for receiver in receivers {
            Client::new(address, receiver).join(&room).await?;
        }
        rooms.push(room);
    }
    Ok(rooms)
}

/// Sends every message whose number is this sender's, when it is due or as soon after as it can.
async fn send(
    mut client: Client,
    room: String,
    sender: u64,
    schedule: Schedule,
) -> anyhow::Result<()> {
    let mut number = sender;
    while number < schedule.count {
        tokio::time::sleep_until(schedule.due(number).into()).await;
        client.send(&room, &format!("d{number}"), &number.to_string()).await.context("send")?;
        number += SENDERS as u64;
    }
    Ok(())
}

/// Listens until every message of the room has arrived, or the grace is over.
async fn listen(
    address: SocketAddr,
    account: Account,
    transport: Transport,
    schedule: Schedule,
) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    let deadline = schedule.end() + GRACE;
    let work = async {
        match transport {
            Transport::LongPoll => poll(address, &account, schedule, &mut latency).await,
            Transport::WebSocket => follow(address, &account, schedule, &mut latency).await,
        }
    };
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(Err(error)) => Err(error),
        // The caller sees what is missing.
        Ok(Ok(())) | Err(_) => Ok(latency),
    }
}

async fn poll(
    address: SocketAddr,
    account: &Account,
    schedule: Schedule,
    latency: &mut Latency,
) -> anyhow::Result<()> {
    let mut client = Client::new(address, account);
    let mut since = client.sync(None, 0).await.context("initial sync")?.next_batch;
    let mut own = 0;
    while own < expected_of_one(schedule) {
        let body = client.sync_bytes(Some(&since), LONG_POLL_MS).await.context("sync")?;
        let arrived = Instant::now();
        let batch: Sync = serde_json::from_slice(&body)?;
        own += record(&batch, arrived, schedule, latency);
        since = batch.next_batch;
    }
    Ok(())
}

async fn follow(
    address: SocketAddr,
    account: &Account,
    schedule: Schedule,
    latency: &mut Latency,
) -> anyhow::Result<()> {
    let since = Client::new(address, account).sync(None, 0).await.context("initial sync")?;
    let mut socket = Socket::open(address, account).await?;
    socket.start_sync(Some(&since.next_batch)).await?;
    let mut own = 0;
    while own < expected_of_one(schedule) {
        let text = socket.next_text().await?;
        let arrived = Instant::now();
        let frame: Frame = serde_json::from_str(&text).with_context(|| format!("frame {text}"))?;
        if let (Some(seq), Some(batch)) = (frame.seq, frame.data) {
            own += record(&batch, arrived, schedule, latency);
            socket.acknowledge(seq).await?;
        }
    }
    Ok(())
}

/// Senders and rooms share the numbers evenly.
fn expected_of_one(schedule: Schedule) -> u64 {
    schedule.count / ROOMS as u64
}

fn record(batch: &Sync, arrived: Instant, schedule: Schedule, latency: &mut Latency) -> u64 {
    let events = batch.rooms.join.values().flat_map(|room| &room.timeline.events);
    let numbers = events
        .filter_map(|event| event.content.body.as_deref())
        .filter_map(|text| text.parse::<u64>().ok());
    let mut count = 0;
    for number in numbers {
        latency.record(arrived.saturating_duration_since(schedule.due(number)));
        count += 1;
    }
    count
}
