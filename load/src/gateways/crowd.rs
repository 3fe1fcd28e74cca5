//! A process of clients: it does what the lines of its input say, and answers each with a line.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::wire::{Said, Wire};
use crate::{
    client::{Account, Client},
    connection::Connection,
};

/// Requests at a time of one process.
const AT_ONCE: usize = 24;
/// Sockets of one process that are being opened at a time.
const OPENING: usize = 64;
/// Attempts at a socket before it counts as not to be had.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(250);
/// Within this time a message has to be everywhere.
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);
const HEARTBEAT: &str = r#"{"method":"presence","params":{"active":true}}"#;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    address: SocketAddr,
    /// Of the process; names and source addresses follow from it.
    #[arg(long)]
    number: u8,
    #[arg(long)]
    sockets: usize,
    #[arg(long)]
    sockets_per_user: usize,
    #[arg(long)]
    room_size: usize,
}

struct Crowd {
    arguments: Arguments,
    accounts: Vec<Account>,
    rooms: Vec<String>,
    open: Vec<Open>,
    heard: Arc<Heard>,
}

/// A socket that is open.
struct Open {
    index: usize,
    wire: Arc<Wire>,
    state: Arc<State>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What outlives a connection.
#[derive(Default)]
struct State {
    /// The position after the last batch.
    since: std::sync::Mutex<String>,
    /// Messages of the rounds, as bits, and how many came twice.
    rounds: AtomicU64,
    repeated: AtomicUsize,
}

#[derive(Default)]
struct Heard {
    changed: Notify,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let heard = Arc::new(Heard::default());
    let mut crowd =
        Crowd { arguments, accounts: Vec::new(), rooms: Vec::new(), open: Vec::new(), heard };
    let (said, mut lines) = mpsc::channel(1);
    // It ends with the input, or at its next line after the end of this.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lines();
        while let Some(Ok(line)) = input.next()
            && said.blocking_send(line).is_ok()
        {}
    });
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["prepare"] => crowd.prepare().await?,
            ["open", count] => crowd.open_to(count.parse()?).await?,
            ["hold", seconds, interval] => crowd.hold(seconds.parse()?, interval.parse()?).await?,
            ["message", round] => crowd.message(round.parse()?).await?,
            ["cut"] => crowd.cut().await?,
            ["wait"] => crowd.come_back().await?,
            _ => bail!("the line {line:?} is not understood"),
        };
        println!("{answer}");
    }
    Ok(())
}

impl Crowd {
    /// Users, each with one device and a place in one room.
    async fn prepare(&mut self) -> anyhow::Result<String> {
        let Arguments { address, number, sockets, sockets_per_user, room_size } = self.arguments;
        self.accounts = stream::iter(0..sockets.div_ceil(sockets_per_user))
            .map(|index| register(address, format!("crowd{number}-{index}")))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        self.rooms = stream::iter(self.accounts.chunks(room_size))
            .map(|members| async move {
                let room = Client::new(address, &members[0]).create_room().await?;
                for account in &members[1..] {
                    Client::new(address, account).join(&room).await.context("join")?;
                }
                anyhow::Ok(room)
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(format!("{} users in {} rooms", self.accounts.len(), self.rooms.len()))
    }

    async fn open_to(&mut self, count: usize) -> anyhow::Result<String> {
        let begin = Instant::now();
        let which = self.open.len()..count.min(self.arguments.sockets);
        let fresh = which.map(|index| (index, Arc::default())).collect();
        let attempts = self.connect(fresh).await?;
        Ok(format!("{} {} {attempts}", self.open.len(), begin.elapsed().as_millis()))
    }

    /// Opens these sockets, however often it takes; tells how many attempts failed.
    async fn connect(&mut self, which: Vec<(usize, Arc<State>)>) -> anyhow::Result<usize> {
        let failed = AtomicUsize::new(0);
        let this = &*self;
        let opened: Vec<Open> = stream::iter(which)
            .map(|(index, state)| this.connect_one(index, state, &failed))
            .buffer_unordered(OPENING)
            .try_collect()
            .await?;
        self.open.extend(opened);
        Ok(failed.load(Relaxed))
    }

    async fn connect_one(
        &self,
        index: usize,
        state: Arc<State>,
        failed: &AtomicUsize,
    ) -> anyhow::Result<Open> {
        for _ in 0..ATTEMPTS {
            match self.attempt(index, Arc::clone(&state)).await {
                Ok(open) => return Ok(open),
                Err(_in_vain) => {
                    failed.fetch_add(1, Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.attempt(index, state).await
    }

    async fn attempt(&self, index: usize, state: Arc<State>) -> anyhow::Result<Open> {
        let source = Ipv4Addr::new(127, 1, self.arguments.number, 1);
        let token = &self.accounts[index % self.accounts.len()].token;
        let (wire, mut unread) = Wire::open(self.arguments.address, source, token).await?;
        let since = state.since.lock().expect("nobody panics").clone();
        let mut params = json!({ "mode": "v3", "window": 2, "set_presence": "online" });
        if !since.is_empty() {
            params["since"] = json!(since);
        }
        let start = json!({ "id": "s", "method": "sync.start", "params": params });
        wire.text(&start.to_string()).await?;
        // It counts as open when the sync runs; who is new waits for what there is.
        let mut started = false;
        while !started || state.since.lock().expect("nobody panics").is_empty() {
            match wire.next(&mut unread).await? {
                Said::Ping => wire.pong().await?,
                Said::Close => bail!("closed"),
                Said::Text(text) => {
                    started |= text.starts_with(br#"{"id":"s","result""#);
                    take(&wire, &state, &text).await?;
                }
            }
        }
        let (wire, heard) = (Arc::new(wire), Arc::clone(&self.heard));
        let (reading, kept) = (Arc::clone(&wire), Arc::clone(&state));
        let task = tokio::spawn(async move {
            loop {
                match reading.next(&mut unread).await? {
                    Said::Ping => reading.pong().await?,
                    Said::Close => bail!("closed"),
                    Said::Text(text) => {
                        take(&reading, &kept, &text).await?;
                        heard.changed.notify_one();
                    }
                }
            }
        });
        Ok(Open { index, wire, state, task })
    }

    /// Sends a heartbeat of each socket per interval, evenly spread.
    async fn hold(&self, seconds: u64, interval: u64) -> anyhow::Result<String> {
        let (begin, end) = (Instant::now(), Duration::from_secs(seconds));
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let per_tick = self.open.len() as f64 * 0.05 / interval as f64;
        let (mut due, mut next, mut beats) = (0.0, 0, 0_usize);
        while begin.elapsed() < end {
            ticks.tick().await;
            due += per_tick;
            while due >= 1.0 && !self.open.is_empty() {
                due -= 1.0;
                beats += usize::from(self.open[next % self.open.len()].wire.try_text(HEARTBEAT));
                next += 1;
            }
        }
        Ok(format!("{beats} {}", self.broken()))
    }

    fn broken(&self) -> usize {
        self.open.iter().filter(|open| open.task.is_finished()).count()
    }

    /// Says something in each room, and waits until every open socket has been told once.
    async fn message(&self, round: u8) -> anyhow::Result<String> {
        let begin = Instant::now();
        let address = self.arguments.address;
        let authors = self.accounts.chunks(self.arguments.room_size).map(|members| &members[0]);
        stream::iter(self.rooms.iter().zip(authors))
            .map(|(room, author)| say(address, author, room, round))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let bit = 1_u64 << round;
        let missing =
            || self.open.iter().filter(|open| open.state.rounds.load(Relaxed) & bit == 0).count();
        let deadline = tokio::time::Instant::now() + DELIVERED_WITHIN;
        while missing() > 0 {
            if tokio::time::timeout_at(deadline, self.heard.changed.notified()).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let repeated: usize = self.open.iter().map(|open| open.state.repeated.load(Relaxed)).sum();
        Ok(format!("{} {} {repeated}", begin.elapsed().as_millis(), missing()))
    }

    /// Ends every connection without a word, and opens all again where they were.
    async fn cut(&mut self) -> anyhow::Result<String> {
        let begin = Instant::now();
        let all = self.open.drain(..).map(|open| {
            open.task.abort();
            (open.index, open.state)
        });
        let all = all.collect();
        let failed = self.connect(all).await?;
        Ok(format!("{} {} {failed}", self.open.len(), begin.elapsed().as_millis()))
    }

    /// Opens again what the server's side has closed.
    async fn come_back(&mut self) -> anyhow::Result<String> {
        let begin = Instant::now();
        let (lost, kept) = self.open.drain(..).partition(|open| open.task.is_finished());
        self.open = kept;
        let lost: Vec<Open> = lost;
        let count = lost.len();
        self.connect(lost.into_iter().map(|open| (open.index, open.state)).collect()).await?;
        Ok(format!("{count} {}", begin.elapsed().as_millis()))
    }
}

/// Acknowledges a batch and notes what it brought.
async fn take(wire: &Wire, state: &State, text: &[u8]) -> anyhow::Result<()> {
    let text = str::from_utf8(text)?;
    let Some(seq) = between(text, r#"{"method":"sync","seq":"#, ",") else { return Ok(()) };
    for part in text.split(r#""body":"round "#).skip(1) {
        let round: u8 = part.split('"').next().unwrap_or_default().parse()?;
        let bit = 1_u64 << round;
        if state.rounds.fetch_or(bit, Relaxed) & bit != 0 {
            state.repeated.fetch_add(1, Relaxed);
        }
    }
    let since = between(text, r#""next_batch":""#, "\"").context("a batch without a position")?;
    since.clone_into(&mut state.since.lock().expect("nobody panics"));
    wire.text(&format!(r#"{{"method":"sync.ack","params":{{"seq":{seq}}}}}"#)).await?;
    Ok(())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Without a password, so that the server has none to hash.
async fn register(address: SocketAddr, name: String) -> anyhow::Result<Account> {
    let body = json!({ "auth": { "type": "m.login.dummy" }, "username": name });
    let path = "/_matrix/client/v3/register";
    let body = Bytes::from(body.to_string());
    let response = Connection::new(address).request(Method::POST, path, None, body).await?;
    ensure!(response.status.is_success(), "registration: {:?}", response.body);
    let body: Value = serde_json::from_slice(&response.body)?;
    let text = |key: &str| body[key].as_str().map(str::to_owned).context("a registration's answer");
    Ok(Account { user_id: text("user_id")?, token: text("access_token")? })
}

async fn say(address: SocketAddr, author: &Account, room: &str, round: u8) -> anyhow::Result<()> {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/round{round}");
    let body = json!({ "msgtype": "m.text", "body": format!("round {round}") }).to_string();
    let mut connection = Connection::new(address);
    let sent = connection.request(Method::PUT, &path, Some(&author.token), body.into()).await?;
    ensure!(sent.status.is_success(), "a message: {:?}", sent.body);
    Ok(())
}
