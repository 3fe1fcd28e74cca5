//! `load resolve`: what an event costs that comes on a branch whose state is in conflict with the
//! rest of the room. The branch is learnt as a receiving server learns one: its history is not to be
//! had, so another server, a fixture, tells the state. Each event measured is a state event, so that
//! no two resolutions are of the same states.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use crate::{
    bench::report::{self, Latency, Report, Target},
    certificates::Certificates,
    client::{self, Account, Client},
    fixture::{
        Fixture, Peer,
        room::{BANNED_ONE_IN, Room, Tip},
    },
    server::{Plan, Server},
};

/// Events in conflict, and what an event may take then.
const SIZES: [(usize, f64); 2] = [(1_000, 10.0), (10_000, 100.0)];

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall, sled or memory
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Events of each measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::print("resolve", arguments.json.as_deref(), async |directory| {
        measure(&arguments, &directory).await
    })
    .await
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Report> {
    fs::create_dir_all(directory)?;
    let certificates = Certificates::make(directory)?;
    let fixture = Fixture::serve(&certificates).await?;
    let mut plan = Plan::new(&arguments.server_bin, &arguments.engine, directory)?;
    plan.environment = certificates.environment();
    let (mut server, _) = plan.start().await?;
    let user = client::register(plan.address, "reader").await?;
    let fork = Fork { plan, fixture, user, events: arguments.events };
    let mut report = Report::default();
    for size in SIZES {
        server = fork.measure(&mut report, server, size).await?;
    }
    server.terminate().await?;
    Ok(report)
}

struct Fork {
    plan: Plan,
    fixture: Arc<Fixture>,
    user: Account,
    events: u32,
}

impl Fork {
    async fn measure(
        &self,
        report: &mut Report,
        server: Server,
        (conflicted, target_ms): (usize, f64),
    ) -> anyhow::Result<Server> {
        let by = &self.fixture.signatory;
        // Each member has one membership here and another there.
        let mut room = Room::make(by, &format!("fork{conflicted}"), conflicted / 2 + 1);
        let branch = room.diverge(by);
        let id = self.fixture.open(room);
        Client::new(self.plan.address, &self.user).join_via(&id, &by.server).await?;

        let mut here = self.fixture.room(&id)?.tip_after(self.fixture.join_of(&id));
        let name = format!("{conflicted} conflicted");
        let linear = self.take(&server, &id, &mut here, self.events, "linear").await?;
        linear.report(report, &format!("{name}, an event before the fork"), None);
        let mut there = branch;
        let told = self.take(&server, &id, &mut there, 1, "told").await?;
        report.add(
            &format!("{name}, the first: state is asked for"),
            told.slowest_ms(),
            "ms",
            None,
        );
        let target = Some(Target::AtMost(target_ms));
        let forked = self.take(&server, &id, &mut there, self.events, "forked").await?;
        forked.report(report, &format!("{name}, an event on the branch"), target);

        // Whom the branch has banned is gone, and the newcomer stays, whom it does not know.
        let members = Client::new(self.plan.address, &self.user).count_members(&id).await?;
        let expected = conflicted / 2 - (conflicted / 2).div_ceil(BANNED_ONE_IN) + 2;
        ensure!(members == expected, "{members} members, not {expected}");

        server.terminate().await?;
        let (server, _) = self.plan.start().await?;
        let cold = self.take(&server, &id, &mut there, 1, "cold").await?;
        report.add(&format!("{name}, the first after a start"), cold.slowest_ms(), "ms", None);
        Ok(server)
    }

    /// Sends state events at the end of a branch, one by one.
    async fn take(
        &self,
        server: &Server,
        room: &str,
        tip: &mut Tip,
        count: u32,
        label: &str,
    ) -> anyhow::Result<Taken> {
        let by = &self.fixture.signatory;
        let speaker = self.fixture.room(room)?;
        let mut peer = Peer::new(self.plan.address);
        let mut taken =
            Taken { latency: Latency::new(), slowest: Duration::ZERO, cpu: Duration::ZERO };
        let cpu = server.cpu()?;
        for number in 0..count {
            let key = format!("{label}{number}");
            let event = speaker.say(by, tip, "org.example.mark", Some(&key), json!({}));
            let begin = Instant::now();
            peer.send(by, &event.id[1..], std::slice::from_ref(&event)).await?;
            taken.slowest = taken.slowest.max(begin.elapsed());
            taken.latency.record(begin.elapsed());
        }
        taken.cpu = (server.cpu()? - cpu) / count;
        Ok(taken)
    }
}

struct Taken {
    latency: Latency,
    slowest: Duration,
    /// Of an event.
    cpu: Duration,
}

impl Taken {
    fn slowest_ms(&self) -> f64 {
        self.slowest.as_secs_f64() * 1000.0
    }

    fn report(&self, report: &mut Report, name: &str, target: Option<Target>) {
        report.add_latency(name, &self.latency, target);
        report.add(&format!("{name}, CPU"), self.cpu.as_secs_f64() * 1000.0, "ms", None);
    }
}
