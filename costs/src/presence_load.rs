//! `costs presence`: what very many users who come and go cost the process that knows who is there, in
//! CPU of its one thread. What is sent to those who watch, and the sockets, are other measurements.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use frames::codec::Decoder;
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};
use sync::Connection;
use tokio::time::Instant;

use crate::{
    allocations,
    works::{Crowd, client_frame},
    world::World,
};

/// How many share each room.
const ROOM: usize = 20;
/// One in so many flaps in a second.
const FLAPS: usize = 100;
/// A second is cut into so many pieces, so that it is not one burst.
const PIECES: usize = 10;
/// Rooms of two sizes: the difference is what those who watch cost.
const WATCHED: [usize; 2] = [20, 220];
const WATCHED_ROOMS: usize = 20;
const WATCHED_FLAPS: usize = 5;
const WATCHED_ROUNDS: usize = 4;
const BEATS: u64 = 2_000_000;
/// What was told is passed on after less than this.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Users who are online
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// Seconds in which they come and go
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut figures = Vec::new();
    heartbeats(&mut figures, arguments.users)?;
    per_watcher(&mut figures)?;
    flapping(&mut figures, arguments.users, arguments.seconds)?;
    for figure in &figures {
        let [name, value, unit] = ["name", "value", "unit"].map(|key| &figure[key]);
        println!("{:<64} {:>12.3} {}", text(name), value.as_f64().unwrap_or(0.0), text(unit));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn figure(name: String, value: f64, unit: &str) -> Value {
    json!({ "name": name, "value": value, "unit": unit })
}

/// CPU time of this thread so far.
fn cpu() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split(' ').next().context("/proc/thread-self/schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// A frame is read and its user's device touched, each time another's.
fn heartbeats(figures: &mut Vec<Value>, users: usize) -> anyhow::Result<()> {
    let crowd = Crowd::new(users)?;
    let frame = client_frame(br#"{"method":"presence","params":{"active":true}}"#);
    let mut decoder = Decoder::new(1 << 16);
    (0..users as u64).for_each(|number| crowd.beat(number));
    crowd.clock.advance(40_000);
    let mut each = |with_frame: bool| {
        let (begin, before) = (cpu()?, allocations::count());
        for number in 0..BEATS {
            if with_frame {
                decoder.feed(&frame);
                ensure!(decoder.message()?.is_some(), "the frame is not understood");
            }
            crowd.beat(number);
        }
        let seconds = (cpu()? - begin).as_secs_f64();
        let allocated = (allocations::count() - before) as f64 / BEATS as f64;
        anyhow::Ok((BEATS as f64 / seconds, allocated))
    };
    for (with_frame, what) in [(false, "in the table"), (true, "frame and table")] {
        let (rate, allocated) = each(with_frame)?;
        figures.push(figure(format!("heartbeats, {what}"), rate, "/s and core"));
        figures.push(figure(format!("allocations a heartbeat, {what}"), allocated, ""));
    }
    Ok(())
}

/// Users in rooms of their own, each with an open connection.
struct Rooms {
    world: World,
    /// By room.
    users: Vec<Vec<OwnedUserId>>,
    _connections: Vec<Connection>,
}

impl Rooms {
    fn new(rooms: usize, members: usize) -> anyhow::Result<Self> {
        let world = World::new(None)?;
        let (mut users, mut connections) = (Vec::new(), Vec::new());
        for room in 0..rooms {
            let name = |number| UserId::parse(format!("@user{room}x{number}:x.test"));
            let members: Vec<_> = (0..members).map(name).collect::<Result<_, _>>()?;
            let room = world.room(&members[0])?;
            for user in &members[1..] {
                world.join(&room, user)?;
            }
            for user in &members {
                connections.push(world.watcher(user)?);
            }
            users.push(members);
        }
        // So that what they were told at first is out of the way.
        world.pass(SETTLED_AFTER);
        Ok(Self { world, users, _connections: connections })
    }
}

/// What one more who watches costs: the marks and the wake, not the answer.
fn per_watcher(figures: &mut Vec<Value>) -> anyhow::Result<()> {
    let mut spent = [Duration::ZERO; 2];
    for (spent, members) in spent.iter_mut().zip(WATCHED) {
        let rooms = Rooms::new(WATCHED_ROOMS, members)?;
        let before = rooms.world.presence().sequence();
        let begin = cpu()?;
        for round in 0..WATCHED_ROUNDS {
            rooms.world.clock().advance(21_000);
            for users in &rooms.users {
                for user in &users[..WATCHED_FLAPS] {
                    rooms.world.beat(user, round % 2 == 1);
                }
            }
            rooms.world.pass(SETTLED_AFTER);
        }
        *spent = cpu()? - begin;
        let changes = rooms.world.presence().sequence() - before;
        let wanted = (WATCHED_ROUNDS * WATCHED_ROOMS * WATCHED_FLAPS) as u64;
        ensure!(changes >= wanted, "{changes} changes of {wanted}");
    }
    let more = WATCHED_ROUNDS * WATCHED_ROOMS * WATCHED_FLAPS * (WATCHED[1] - WATCHED[0]);
    let each = spent[1].saturating_sub(spent[0]).as_secs_f64() * 1e6 / more as f64;
    figures.push(figure("presence, CPU per watcher update".to_owned(), each, "us"));
    Ok(())
}

fn flapping(figures: &mut Vec<Value>, users: usize, seconds: u64) -> anyhow::Result<()> {
    let begin = Instant::now();
    let rooms = Rooms::new(users / ROOM, ROOM)?;
    println!("{users} users in {:?}", begin.elapsed());
    let everybody: Vec<&OwnedUserId> = rooms.users.iter().flatten().collect();
    let (mut next, mut active) = (0, false);
    let before = rooms.world.presence().sequence();
    let (begin, spent) = (Instant::now(), cpu()?);
    for second in 0..seconds * PIECES as u64 {
        for _ in 0..users / FLAPS / PIECES {
            rooms.world.beat(everybody[next], active);
            next += 1;
            if next == everybody.len() {
                (next, active) = (0, !active);
            }
        }
        rooms.world.clock().advance(1000 / PIECES as u64);
        let due = Duration::from_millis((second + 1) * 1000 / PIECES as u64);
        rooms.world.pass(due.saturating_sub(begin.elapsed()));
    }
    let (took, spent) = (begin.elapsed(), cpu()? - spent);
    let changes = rooms.world.presence().sequence() - before;
    let wanted = (users / FLAPS / PIECES * PIECES) as u64 * seconds;
    ensure!(changes >= wanted, "{changes} changes of {wanted}");
    let share = spent.as_secs_f64() / took.as_secs_f64() * 100.0;
    let name =
        format!("presence, {users} users, 1 in {FLAPS} flaps a second, {} watch each", ROOM - 1);
    figures.push(figure(name, share, "% of a core"));
    Ok(())
}
