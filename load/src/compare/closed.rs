//! Closed loops: each worker does its next operation when the last one was answered. What counts is
//! the CPU of an operation; the latency is that of a server which is as busy as it can be.

use std::time::{Duration, Instant};

use futures_util::future;
use http::Method;
use rand::RngExt as _;
use serde_json::json;
use tokio::task::JoinSet;

use super::{contender::Contender, scenarios::Slice};
use crate::{
    bench::report::Latency,
    client::{Client, encode},
};

/// About the length of a chat message.
pub(super) const TEXT: &str =
    "The ferry leaves at ten past six from the second pier; bring the blue folder.";

pub(super) enum Work {
    /// To each room in turn.
    Send {
        rooms: Vec<String>,
    },
    NoOp(String),
    InitialSync,
    SlidingWindow,
    Typing(String),
    Receipt {
        room: String,
        event: String,
    },
    Login,
}

pub(super) struct Worker {
    client: Client,
    work: Work,
    /// Makes what a server may remember of another slice a new thing.
    salt: u64,
}

impl Worker {
    pub(super) fn new(client: Client, work: Work) -> Self {
        Self { client, work, salt: rand::rng().random_range(0..1 << 48) }
    }

    async fn perform(&mut self, number: usize) -> anyhow::Result<()> {
        let (client, salt) = (&mut self.client, self.salt);
        match &self.work {
            Work::Send { rooms } => {
                let room = &rooms[number % rooms.len()];
                client.send(room, &format!("{salt:x}n{number}"), TEXT).await?;
            }
            Work::NoOp(since) => drop(client.sync_bytes(Some(since), 0).await?),
            Work::InitialSync => {
                // Synapse keeps the answer to an initial sync and gives it again to the same query.
                let filter = json!({ "room": {
                    "state": { "lazy_load_members": true },
                    "timeline": { "limit": 10, "not_types": [format!("x{salt}.{number}")] },
                }});
                let filter = encode(&filter.to_string());
                let path = format!("/_matrix/client/v3/sync?timeout=0&filter={filter}");
                client.call_bytes(Method::GET, &path, None).await?;
            }
            Work::SlidingWindow => {
                let path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0";
                let body = sliding_body(&format!("{salt:x}n{number}"));
                client.call_bytes(Method::POST, path, Some(&body)).await?;
            }
            Work::Typing(room) => {
                let user = encode(&client.account().user_id);
                let path = format!("/_matrix/client/v3/rooms/{}/typing/{user}", encode(room));
                let typing = number.is_multiple_of(2);
                let body = json!({ "typing": typing, "timeout": 30_000 });
                client.call_bytes(Method::PUT, &path, Some(&body)).await?;
            }
            Work::Receipt { room, event } => {
                let (room, event) = (encode(room), encode(event));
                let kind = if number.is_multiple_of(2) { "m.read" } else { "m.read.private" };
                let path = format!("/_matrix/client/v3/rooms/{room}/receipt/{kind}/{event}");
                client.call_bytes(Method::POST, &path, Some(&json!({}))).await?;
            }
            Work::Login => {
                let body = json!({
                    "type": "m.login.password",
                    "identifier": { "type": "m.id.user", "user": client.account().user_id },
                    "password": crate::client::PASSWORD,
                });
                client.call_bytes(Method::POST, "/_matrix/client/v3/login", Some(&body)).await?;
            }
        }
        Ok(())
    }
}

/// What an Element X asks first: the window, with what a list of rooms shows.
fn sliding_body(connection: &str) -> serde_json::Value {
    json!({
        "conn_id": connection,
        "lists": { "all": {
            "ranges": [[0, 19]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.name", ""], ["m.room.avatar", ""], ["m.room.encryption", ""],
                ["m.room.create", ""], ["m.room.power_levels", ""], ["m.room.member", "$LAZY"],
                ["m.room.member", "$ME"],
            ],
        }},
    })
}

/// Every worker does one operation before the clock starts. All that begins within `time` counts,
/// and the clock stops when the last has been answered.
pub(super) async fn run(
    workers: Vec<Worker>,
    contender: &Contender,
    time: Duration,
) -> anyhow::Result<Slice> {
    let warm = workers.into_iter().map(|mut worker| async {
        worker.perform(0).await?;
        anyhow::Ok(worker)
    });
    let workers = future::try_join_all(warm).await?;
    let (begin, cpu) = (Instant::now(), contender.cpu()?);
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(work_until(begin + time, worker));
    }
    let mut latency = Latency::new();
    while let Some(done) = tasks.join_next().await {
        latency.merge(&done??);
    }
    let (took, cpu) = (begin.elapsed(), contender.cpu()?.saturating_sub(cpu));
    Ok(Slice { operations: latency.count(), took, cpu, latency, missed: 0 })
}

async fn work_until(end: Instant, mut worker: Worker) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    let mut number = 1;
    while Instant::now() < end {
        let begin = Instant::now();
        worker.perform(number).await?;
        latency.record(begin.elapsed());
        number += 1;
    }
    Ok(latency)
}
