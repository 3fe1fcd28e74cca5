//! `load bench`: what the work of the server costs on this machine. The load generator shares the
//! cores, so CPU per operation is the figure to compare and throughput the one to be careful with.

mod delivery;
mod disk;
mod fan_out;
mod flush;
mod heartbeats;
mod initial_sync;
mod many_rooms;
mod no_op_sync;
pub(crate) mod population;
pub(crate) mod report;
pub(crate) mod send;
mod sliding_window;
mod sockets;
mod waking_sync;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{delivery::Transport, population::Population, report::Report};
use crate::server::{Plan, Server};

const WRITERS: usize = 64;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall, sled or memory
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Short runs: enough to see that every measurement works
    #[arg(long)]
    smoke: bool,
    /// Seconds per measurement
    #[arg(long)]
    seconds: Option<u64>,
    /// Events in the store for the second start-up
    #[arg(long)]
    events: Option<u64>,
    /// Idle sockets at the end of the memory measurement, which begins with a ninth of them; as many
    /// are told of a message at once
    #[arg(long)]
    sockets: Option<usize>,
    /// Rooms of the account whose syncs are measured
    #[arg(long)]
    rooms: Option<usize>,
    /// Measure only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Each has a server and a store of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Sends, deliveries, start-up, memory
    Basics,
    /// The syncs of an account in very many rooms
    ManyRooms,
    /// One message to very many sockets, and their return
    FanOut,
    /// Sockets that say that somebody is there
    Heartbeats,
    /// Bytes an event, in a room of 10,000 members
    Disk,
}

/// How much of each measurement.
struct Scale {
    time: Duration,
    events: u64,
    sockets: usize,
    rooms: usize,
}

impl Scale {
    fn of(arguments: &Arguments) -> Self {
        let (seconds, events, sockets, rooms) =
            if arguments.smoke { (4, 20_000, 1_800, 100) } else { (10, 200_000, 9_000, 1_000) };
        Self {
            time: Duration::from_secs(arguments.seconds.unwrap_or(seconds)),
            events: arguments.events.unwrap_or(events),
            sockets: arguments.sockets.unwrap_or(sockets),
            rooms: arguments.rooms.unwrap_or(rooms),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::print("bench", arguments.json.as_deref(), async |directory| {
        measure(&arguments, &Scale::of(&arguments), &directory).await
    })
    .await
}

async fn measure(arguments: &Arguments, scale: &Scale, directory: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    sockets::raise_file_limit()?;
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let plan = |name| Plan::new(&arguments.server_bin, &arguments.engine, &directory.join(name));
    if is_wanted(Part::Basics) {
        flush::measure(&mut report, directory)?;
        basics(&mut report, arguments, scale, &plan("basics")?).await?;
    }
    if is_wanted(Part::ManyRooms) {
        many_rooms::measure(&mut report, scale, &plan("many-rooms")?).await?;
    }
    if is_wanted(Part::FanOut) {
        fan_out::measure(&mut report, scale, &plan("fan-out")?).await?;
    }
    if is_wanted(Part::Heartbeats) {
        heartbeats::measure(&mut report, scale, &plan("heartbeats")?).await?;
    }
    // The other engine keeps itself compact, and the third has no files.
    if is_wanted(Part::Disk) && arguments.engine == "fjall" {
        disk::measure(&mut report, scale, &plan("disk")?).await?;
    }
    Ok(report)
}

async fn basics(
    report: &mut Report,
    arguments: &Arguments,
    scale: &Scale,
    plan: &Plan,
) -> anyhow::Result<()> {
    let (server, empty) = plan.start().await?;
    report.add("start-up, empty store", milliseconds(empty), "ms", None);
    println!(
        "bench: {} on {}, registering users",
        arguments.server_bin.display(),
        arguments.engine
    );

    let crowd = Population::create(plan.address, "bench", WRITERS).await?;
    let rooms = crowd.own_rooms().await?;
    let mut sent = measure_sends(report, scale, &server, &crowd, &rooms).await?;
    no_op_sync::measure(report, scale.time, &server, &crowd.accounts[0], plan.address).await?;
    for transport in [Transport::LongPoll, Transport::WebSocket] {
        sent += delivery::measure(report, scale.time, &server, plan.address, transport).await?;
    }
    if sent < scale.events {
        println!("bench: filling the store from {sent} to {} events", scale.events);
        sent += send::fill(&crowd, &rooms, scale.events - sent).await?;
    }
    let stopped = server.terminate().await?;
    report.add("shutdown after SIGTERM", milliseconds(stopped), "ms", None);
    let (again, filled) = plan.start().await?;
    report.add(&format!("start-up, {sent} events"), milliseconds(filled), "ms", None);
    let memory = again.resident()? as f64 / f64::from(1 << 20);
    report.add("memory after that start-up", memory, "MiB", None);

    // Registering hashes passwords, which takes memory that comes and goes; a process of its own
    // has only the sockets.
    let idle = sockets::register(scale.sockets, plan.address).await?;
    again.terminate().await?;
    let (fresh, _) = plan.start().await?;
    sockets::measure(report, scale.sockets, &fresh, plan.address, &idle).await?;
    Ok(())
}

async fn measure_sends(
    report: &mut Report,
    scale: &Scale,
    server: &Server,
    crowd: &Population,
    rooms: &[String],
) -> anyhow::Result<u64> {
    println!("bench: {WRITERS} writers");
    let many = send::measure(scale.time, server, crowd, rooms).await?;
    many.report(report, &format!("send, {WRITERS} writers, {} rooms", rooms.len()), true);
    let one = vec![rooms[0].clone(); rooms.len()];
    crowd.join_all(&rooms[0]).await?;
    let single = send::measure(scale.time, server, crowd, &one).await?;
    single.report(report, &format!("send, {WRITERS} writers, 1 room"), false);
    Ok(many.count() + single.count())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
