//! `load transactions`: other servers, which are fixtures, send their events without a pause; the
//! server is killed at a random moment after it has answered one of them, and must know everything
//! then that it had answered for. What it had not answered is sent again under the same id.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    certificates::Certificates,
    client::{self, Account, Client},
    fixture::{
        Fixture, Peer,
        room::{Event, Room, Tip},
    },
    server::Plan,
};

const PEERS: usize = 4;
/// Events of a transaction, at most.
const EVENTS_MAX: usize = 50;
/// A kill comes after this many answers in a round, and then some microseconds later.
const ANSWERS: std::ops::Range<u64> = 1..60;
const KILL_AFTER_US: std::ops::Range<u64> = 0..10_000;
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const EXAMPLES_MAX: u64 = 5;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall or sled
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// How many times the server is killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Replay the moments of an earlier run
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let directory =
        std::env::temp_dir().join(format!("meridian-transactions-{}", std::process::id()));
    let tally = kills(&arguments, &directory)
        .await
        .with_context(|| format!("the data is kept in {}", directory.display()))?;
    println!("transactions: {} kills: {tally}", arguments.kills);
    ensure!(tally.answered > 0, "no transaction was answered");
    if tally.lost > 0 || tally.duplicated > 0 {
        bail!("events were lost or doubled; the data is in {}", directory.display());
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}

#[derive(Default)]
struct Tally {
    /// Events that the server answered for.
    answered: u64,
    /// Events whose transaction had no answer, and was sent again.
    again: u64,
    lost: u64,
    duplicated: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { answered, again, lost, duplicated } = self;
        write!(
            formatter,
            "{answered} events answered for, {again} sent again, {lost} lost, {duplicated} doubled"
        )
    }
}

async fn kills(arguments: &Arguments, directory: &Path) -> anyhow::Result<Tally> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("transactions: {}, {} kills, seed {seed}", arguments.engine, arguments.kills);
    let mut random = StdRng::seed_from_u64(seed);
    fs::create_dir_all(directory)?;
    let certificates = Certificates::make(directory)?;
    let mut plan = Plan::new(&arguments.server_bin, &arguments.engine, directory)?;
    plan.environment = certificates.environment();
    let (mut server, _) = plan.start().await?;
    let reader = client::register(plan.address, "reader").await?;
    let mut origins = Vec::new();
    for _ in 0..PEERS {
        origins.push(Origin::join(&certificates, plan.address, &reader).await?);
    }
    let mut tally = Tally::default();
    for _ in 0..arguments.kills {
        let answers = Arc::new(AtomicU64::new(0));
        let seeds = (0..PEERS).map(|_| random.random());
        let sending: Vec<_> = origins
            .drain(..)
            .zip(seeds.collect::<Vec<u64>>())
            .map(|(origin, seed)| {
                tokio::spawn(origin.send_until_broken(seed, Arc::clone(&answers)))
            })
            .collect();
        wait_for(&answers, random.random_range(ANSWERS)).await?;
        tokio::time::sleep(Duration::from_micros(random.random_range(KILL_AFTER_US))).await;
        server.kill()?;
        for origin in sending {
            origins.push(origin.await?);
        }
        (server, _) = plan.start().await?;
        // Before anything is sent again: what is lost must not come back in that way.
        for origin in &origins {
            origin.judge(&reader, &mut tally).await?;
        }
        if tally.lost > 0 || tally.duplicated > 0 {
            break;
        }
        for origin in &mut origins {
            tally.again += origin.send_again().await? as u64;
        }
    }
    server.terminate().await?;
    tally.answered = origins.iter().map(|origin| origin.answered.len() as u64).sum();
    Ok(tally)
}

async fn wait_for(answers: &AtomicU64, count: u64) -> anyhow::Result<()> {
    let begin = Instant::now();
    while answers.load(Ordering::Relaxed) < count {
        ensure!(begin.elapsed() < ANSWERS_WITHIN, "no answers in {ANSWERS_WITHIN:?}");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(())
}

/// A server that sends, and what it has been answered for.
struct Origin {
    fixture: Arc<Fixture>,
    address: SocketAddr,
    room: String,
    tip: Tip,
    sent: u64,
    answered: Vec<String>,
    /// Not answered yet.
    open: Option<(String, Vec<Event>)>,
}

impl Origin {
    async fn join(
        certificates: &Certificates,
        address: SocketAddr,
        reader: &Account,
    ) -> anyhow::Result<Self> {
        let fixture = Fixture::serve(certificates).await?;
        let room = fixture.open(Room::make(&fixture.signatory, "events", 1));
        Client::new(address, reader).join_via(&room, &fixture.signatory.server).await?;
        let tip = fixture.room(&room)?.tip_after(fixture.join_of(&room));
        Ok(Self { fixture, address, room, tip, sent: 0, answered: Vec::new(), open: None })
    }

    async fn send_until_broken(mut self, seed: u64, answers: Arc<AtomicU64>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut peer = Peer::new(self.address);
        loop {
            let count = random.random_range(1..=EVENTS_MAX);
            let (transaction, events) = self.next(count);
            let answer = peer.send(&self.fixture.signatory, &transaction, &events).await;
            if answer.is_err() {
                self.open = Some((transaction, events));
                return self;
            }
            self.answered.extend(events.into_iter().map(|event| event.id));
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&mut self, count: usize) -> (String, Vec<Event>) {
        let room = self.fixture.room(&self.room).expect("it was opened and stays");
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            self.sent += 1;
            let text = client::message(&format!("m{}", self.sent));
            let by = &self.fixture.signatory;
            events.push(room.say(by, &mut self.tip, "m.room.message", None, text));
        }
        (format!("t{}", self.sent), events)
    }

    /// Looks for what was answered for in the history that a client reads.
    async fn judge(&self, reader: &Account, tally: &mut Tally) -> anyhow::Result<()> {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut client = Client::new(self.address, reader);
        let mut from = None;
        loop {
            let page = client.messages_back(&self.room, from.as_deref()).await?;
            for event in page.chunk {
                *seen.entry(event.event_id).or_default() += 1;
            }
            from = page.end;
            if from.is_none() {
                break;
            }
        }
        tally.duplicated += seen.values().filter(|count| **count > 1).count() as u64;
        for id in &self.answered {
            if !seen.contains_key(id) {
                tally.lost += 1;
                if tally.lost <= EXAMPLES_MAX {
                    eprintln!("lost: {id} of {}", self.room);
                }
            }
        }
        Ok(())
    }

    /// Returns how many events that were.
    async fn send_again(&mut self) -> anyhow::Result<usize> {
        let Some((transaction, events)) = self.open.take() else { return Ok(0) };
        let by = &self.fixture.signatory;
        Peer::new(self.address).send(by, &transaction, &events).await?;
        self.answered.extend(events.iter().map(|event| event.id.clone()));
        Ok(events.len())
    }
}
