//! What is done to each server, over nothing but the standard client-server API.

use std::time::Duration;

use anyhow::Context as _;
use rand::RngExt as _;

use super::{
    closed::{self, TEXT, Work, Worker},
    contender::Contender,
    open::{self, Signal},
    world::{WRITERS, World},
};
use crate::bench::report::Latency;

/// How many ask at once where the answer is cheap, and where it is dear.
const READERS: usize = 8;
const PATIENT_READERS: usize = 2;
const WATCHERS: usize = 20;

/// What was done in a slice, and what it took.
pub(super) struct Slice {
    pub(super) operations: u64,
    pub(super) took: Duration,
    /// Of all processes of the server.
    pub(super) cpu: Duration,
    pub(super) latency: Latency,
    /// What should have arrived and did not within the grace.
    pub(super) missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    SendOneRoom,
    SendManyRooms,
    DeliverToTwo,
    DeliverToAll,
    NoOpSync,
    InitialSync,
    SlidingWindow,
    Typing,
    Receipts,
    Presence,
    Login,
}

impl Scenario {
    pub(super) const ALL: [Self; 11] = [
        Self::SendOneRoom,
        Self::SendManyRooms,
        Self::DeliverToTwo,
        Self::DeliverToAll,
        Self::NoOpSync,
        Self::InitialSync,
        Self::SlidingWindow,
        Self::Typing,
        Self::Receipts,
        Self::Presence,
        Self::Login,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SendOneRoom => "send-one-room",
            Self::SendManyRooms => "send-many-rooms",
            Self::DeliverToTwo => "deliver-to-two",
            Self::DeliverToAll => "deliver-to-all",
            Self::NoOpSync => "no-op-sync",
            Self::InitialSync => "initial-sync",
            Self::SlidingWindow => "sliding-window",
            Self::Typing => "typing",
            Self::Receipts => "receipts",
            Self::Presence => "presence",
            Self::Login => "login",
        }
    }

    /// In a sentence, with what one operation is.
    pub(super) fn what(self, contenders: &[Contender]) -> String {
        let every = match self {
            Self::DeliverToTwo => Contender::tell_two_every,
            Self::DeliverToAll => Contender::fan_out_every,
            _ => return self.operation().to_owned(),
        };
        let paces = contenders.iter().map(|contender| {
            format!("every {} ms on {}", every(contender).as_millis(), contender.name)
        });
        format!("{}; a message {}", self.operation(), paces.collect::<Vec<_>>().join(", "))
    }

    fn operation(self) -> &'static str {
        match self {
            Self::SendOneRoom => "a durable send; 16 writers in the room that everybody is in",
            Self::SendManyRooms => "a durable send; 16 writers over all their rooms in turn",
            Self::DeliverToTwo => "a delivery; two members long-poll",
            Self::DeliverToAll => "a delivery (a waking sync); everybody long-polls",
            Self::NoOpSync => "a sync that has nothing to tell; 8 clients",
            Self::InitialSync => "an initial sync of all rooms; 2 clients",
            Self::SlidingWindow => {
                "a first window of 20 of all rooms, simplified sliding sync; 2 clients"
            }
            Self::Typing => "a typing notification; 8 clients",
            Self::Receipts => "a read receipt; 8 clients",
            Self::Presence => {
                "a change of somebody's presence; five a second, 20 watchers long-poll"
            }
            Self::Login => "a login by password; 2 clients",
        }
    }

    pub(super) async fn run(
        self,
        world: &World,
        contender: &Contender,
        time: Duration,
    ) -> anyhow::Result<Slice> {
        let people = world.people();
        let hall = || vec![world.hall.clone()];
        let closed = async |workers: Vec<Worker>| closed::run(workers, contender, time).await;
        match self {
            Self::SendOneRoom => {
                closed(workers(world, WRITERS, |_| Work::Send { rooms: hall() })).await
            }
            Self::SendManyRooms => {
                closed(workers(world, WRITERS, |number| Work::Send { rooms: own(world, number) }))
                    .await
            }
            Self::DeliverToTwo => {
                let signal = Signal::message(&world.parlour, contender.tell_two_every());
                open::run(world, contender, time, &people[1..3], signal).await
            }
            Self::DeliverToAll => {
                let signal = Signal::message(&world.hall, contender.fan_out_every());
                open::run(world, contender, time, &people[1..], signal).await
            }
            Self::NoOpSync => {
                let since = world.client(&people[0]).sync(None, 0).await?.next_batch;
                let since = world.client(&people[0]).sync(Some(&since), 0).await?.next_batch;
                let worker = || Worker::new(world.client(&people[0]), Work::NoOp(since.clone()));
                closed((0..READERS).map(|_| worker()).collect()).await
            }
            Self::InitialSync => closed(collectors(world, || Work::InitialSync)).await,
            Self::SlidingWindow => closed(collectors(world, || Work::SlidingWindow)).await,
            Self::Typing => {
                closed(workers(world, READERS, |_| Work::Typing(world.hall.clone()))).await
            }
            Self::Receipts => {
                let transaction = format!("read{:x}", rand::rng().random::<u64>());
                let mut sender = world.client(&people[0]);
                let sent = sender.send(&world.hall, &transaction, TEXT).await;
                let event = sent.context("send what is read")?;
                let work = |_| Work::Receipt { room: world.hall.clone(), event: event.clone() };
                closed(workers(world, READERS, work)).await
            }
            Self::Presence => {
                let watchers = &people[people.len() - WATCHERS.min(people.len() / 2)..];
                let signal = Signal::presence(Duration::from_millis(200));
                open::run(world, contender, time, watchers, signal).await
            }
            Self::Login => closed(workers(world, PATIENT_READERS, |_| Work::Login)).await,
        }
    }
}

/// Worker `n` is person `n`.
fn workers(world: &World, count: usize, work: impl Fn(usize) -> Work) -> Vec<Worker> {
    let people = world.people().iter().take(count).enumerate();
    people.map(|(number, person)| Worker::new(world.client(person), work(number))).collect()
}

fn collectors(world: &World, work: impl Fn() -> Work) -> Vec<Worker> {
    let client = || world.client(world.collector());
    (0..PATIENT_READERS).map(|_| Worker::new(client(), work())).collect()
}

fn own(world: &World, writer: usize) -> Vec<String> {
    world.rooms.iter().skip(writer).step_by(WRITERS).cloned().collect()
}
