//! `load presence`: what users who come and go cost their server and one that shares a room with
//! them. Time is pressed: an interval of ten seconds lasts one, and so does all else.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::future;
use http::Method;

use super::plan;
use crate::{
    bench::{
        population::Population,
        report::{self, Report},
    },
    certificates::Certificates,
    client::{self, Client},
    connection::Connection,
};

/// As often as time is pressed, the seconds of a sender's interval are one.
const PRESSED: u32 = 10;
/// Between two changes of one user, in time that is not pressed.
const FLAP: Duration = Duration::from_secs(30);
/// Those who make the changes.
const HANDS: usize = 16;
/// Changes of the baseline, a user.
const BASELINE: usize = 4;
/// After the last change, until it is sent.
const REST: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall, sled or memory
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Users who come and go
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// Minutes of that, ten of which are measured in one
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::print("presence", arguments.json.as_deref(), async |directory| {
        measure(&arguments, &directory).await
    })
    .await
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Report> {
    fs::create_dir_all(directory)?;
    let certificates = Certificates::make(directory)?;
    let program = (&*arguments.server_bin, &*arguments.engine);
    let mut from = plan(program, directory, "from", &certificates)?;
    let to = plan(program, directory, "to", &certificates)?;
    let interval = ("MERIDIAN_FEDERATION__PRESENCE_SECONDS".to_owned(), PathBuf::from("1"));
    from.plan.environment.push(interval);
    let (sender, _) = from.plan.start().await?;
    let (taker, _) = to.plan.start().await?;

    let crowd = Population::create(from.plan.address, "user", arguments.users).await?;
    let room = Client::new(crowd.address, &crowd.accounts[0]).create_room().await?;
    crowd.join_all(&room).await?;
    let reader = client::register(to.plan.address, "reader").await?;
    let mut reader = Client::new(to.plan.address, &reader);

    let cpu = sender.cpu()?;
    flap(&crowd, BASELINE).await?;
    let alone = (sender.cpu()? - cpu).as_secs_f64() / (BASELINE * arguments.users) as f64;

    reader.join_via(&room, &from.name).await.context("join through the other server")?;
    let last = &crowd.accounts[arguments.users - 1].user_id;
    tokio::time::sleep(REST).await;
    let before = Sent::read(from.plan.address).await?;
    let cpu = (sender.cpu()?, taker.cpu()?);
    let changes = usize::try_from(arguments.minutes * 60 / FLAP.as_secs())? | 1;
    flap(&crowd, changes).await?;
    tokio::time::sleep(REST).await;
    let believed = reader.presence_of(last).await?;
    ensure!(believed == "online", "the other server takes {last} for {believed}");
    let cpu = (sender.cpu()? - cpu.0, taker.cpu()? - cpu.1);
    let sent = Sent::read(from.plan.address).await?.since(before);
    ensure!(sent.edus > 0.0, "nothing was sent");

    let mut report = Report::default();
    let all = (changes * arguments.users) as f64;
    report.add("changes of presence", all, "", None);
    report.add("transactions", sent.transactions, "", None);
    report.add("EDUs", sent.edus, "", None);
    report.add("bytes", sent.bytes / 1024.0, "KiB", None);
    let told = cpu.0.as_secs_f64() / all;
    report.add("make a change, no other server, CPU", alone * 1e6, "us", None);
    // Not their difference: it is smaller than what two runs differ by.
    report.add("make a change, one other server, CPU", told * 1e6, "us", None);
    report.add("hear of it, CPU of all", cpu.1.as_secs_f64() * 1000.0, "ms", None);
    sender.terminate().await?;
    taker.terminate().await?;
    Ok(report)
}

/// Everybody comes and goes in turns, not at the same moment; an odd number of changes ends there.
async fn flap(crowd: &Population, changes: usize) -> anyhow::Result<()> {
    let hands = crowd.accounts.chunks(crowd.accounts.len().div_ceil(HANDS));
    let hands = hands.map(|accounts| async move {
        let mut clients: Vec<_> =
            accounts.iter().map(|account| Client::new(crowd.address, account)).collect();
        let pace = FLAP / PRESSED / u32::try_from(clients.len())?;
        let mut pace = tokio::time::interval(pace);
        for change in 0..changes {
            let presence = if change % 2 == 0 { "online" } else { "unavailable" };
            for client in &mut clients {
                pace.tick().await;
                client.set_presence(presence).await?;
            }
        }
        anyhow::Ok(())
    });
    future::try_join_all(hands).await.map(drop)
}

/// What the server has sent to others, by its own count.
#[derive(Clone, Copy)]
struct Sent {
    transactions: f64,
    edus: f64,
    bytes: f64,
}

impl Sent {
    async fn read(address: SocketAddr) -> anyhow::Result<Self> {
        let path = "/_meridian/metrics";
        let answer =
            Connection::new(address).request(Method::GET, path, None, Bytes::new()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let count = |name: &str| {
            let name = format!("meridian_federation_sent_{name}_total ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.map_or(Ok(0.0), str::parse::<f64>)
        };
        Ok(Self {
            transactions: count("transactions")?,
            edus: count("edus")?,
            bytes: count("bytes")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            transactions: self.transactions - before.transactions,
            edus: self.edus - before.edus,
            bytes: self.bytes - before.bytes,
        }
    }
}
