//! `load federate`: what it costs to send events to another server, and to take them. Two servers on
//! loopback with TLS, writers on one, a member of each of their rooms on the other.

pub(crate) mod presence;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    bench::{
        population::Population,
        report::{self, Report, Target},
        send,
    },
    certificates::Certificates,
    client::{self, Client},
    server::Plan,
};

const WRITERS: usize = 64;
/// What the second server may be behind when the writers stop.
const CATCH_UP: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// 3,000 events a second on one core.
const CPU_TARGET_US: f64 = 333.0;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall, sled or memory
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Seconds of writing
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::print("federate", arguments.json.as_deref(), async |directory| {
        measure(&arguments, &directory).await
    })
    .await
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Report> {
    fs::create_dir_all(directory)?;
    let certificates = Certificates::make(directory)?;
    let server = (&*arguments.server_bin, &*arguments.engine);
    let from = plan(server, directory, "from", &certificates)?;
    let to = plan(server, directory, "to", &certificates)?;
    let (sender, _) = from.plan.start().await?;
    let (taker, _) = to.plan.start().await?;

    let crowd = Population::create(from.plan.address, "writer", WRITERS).await?;
    let rooms = crowd.own_rooms().await?;
    let reader = client::register(to.plan.address, "reader").await?;
    let mut reader = Client::new(to.plan.address, &reader);
    let mut report = Report::default();
    let joining = Instant::now();
    for room in &rooms {
        reader.join_via(room, &from.name).await.context("join through the other server")?;
    }
    let joining = joining.elapsed().as_secs_f64() * 1000.0 / rooms.len() as f64;
    report.add("join through another server", joining, "ms", None);

    let (begin, cpu) = (Instant::now(), (sender.cpu()?, taker.cpu()?));
    let seconds = Duration::from_secs(arguments.seconds);
    let sends = send::measure(seconds, &sender, &crowd, &rooms).await?;
    let written = begin.elapsed();
    let mut author = Client::new(from.plan.address, &crowd.accounts[0]);
    wait_for_last(&mut author, &mut reader, &rooms[0]).await?;
    for (account, room) in crowd.accounts.iter().zip(&rooms).skip(1) {
        wait_for_last(&mut Client::new(from.plan.address, account), &mut reader, room).await?;
    }
    let (took, count) = (begin.elapsed(), sends.count().max(1) as f64);
    report.add("events sent and taken", count / took.as_secs_f64(), "/s", None);
    let behind = (took - written).as_secs_f64() * 1000.0;
    report.add("behind when the writers stopped", behind, "ms", None);
    let per_event = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count;
    let target = Some(Target::AtMost(CPU_TARGET_US));
    let taking = per_event(taker.cpu()? - cpu.1);
    report.add("take an event, durable, CPU", taking, "us", target);
    let sending = per_event(sender.cpu()? - cpu.0);
    report.add("send an event and relay it, CPU", sending, "us", target);
    sender.terminate().await?;
    taker.terminate().await?;
    Ok(report)
}

/// Until both have the same newest event.
async fn wait_for_last(author: &mut Client, reader: &mut Client, room: &str) -> anyhow::Result<()> {
    let wanted = author.newest(room).await?;
    let begin = Instant::now();
    while reader.newest(room).await? != wanted {
        if begin.elapsed() > CATCH_UP {
            bail!("the other server does not have the last event of {room}");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

struct Party {
    plan: Plan,
    /// The server's name: where its TLS is.
    name: String,
}

fn plan(
    (binary, engine): (&Path, &str),
    directory: &Path,
    label: &str,
    certificates: &Certificates,
) -> anyhow::Result<Party> {
    let home = directory.join(label);
    let mut plan = Plan::new(binary, engine, &home)?;
    let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let name = tls.to_string();
    plan.environment = certificates.environment();
    plan.environment.extend(
        [
            ("MERIDIAN_SERVER_NAME", PathBuf::from(&name)),
            ("MERIDIAN_TLS__LISTEN", PathBuf::from(&name)),
            ("MERIDIAN_TLS__CERTIFICATE", certificates.certificate.clone()),
            ("MERIDIAN_TLS__PRIVATE_KEY", certificates.key.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    Ok(Party { plan, name })
}
