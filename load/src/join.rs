//! `load join`: what it takes to come into a room of many members through another server, which is
//! a fixture; and joins that are cut off half-way, after which the room is there wholly or not at
//! all, and can be joined.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{
    bench::report::{self, Report, Target},
    certificates::Certificates,
    client::{self, Account, Client},
    fixture::{Answering, Fixture, room::Room},
    server::{Plan, Server},
};

const TARGET_MS: f64 = 3000.0;
/// For an answer of the fixture to be on its way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Storage engine: fjall, sled or memory
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Members of the room
    #[arg(long, default_value_t = 10_000)]
    members: usize,
    /// Events of the auth chain that one event of the state stands on
    #[arg(long, default_value_t = 0)]
    chain: usize,
    /// Joins that are cut off
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Write the figures here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::print("join", arguments.json.as_deref(), async |directory| {
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
    let (server, _) = plan.start().await?;
    let user = client::register(plan.address, "newcomer").await?;
    let trial = Trial { plan, fixture, user, members: arguments.members };

    let mut report = Report::default();
    let room = trial.room("large");
    let took = trial.timed_join(&server, &room, &mut report).await?;
    let mut server = server;
    if arguments.chain > 0 {
        trial.long_chain(&server, arguments.chain, &mut report).await?;
    }
    let mut whole = 0;
    for kill in 0..arguments.kills {
        let after = cut(kill, arguments.kills, took);
        let (next, joined) = trial.cut_off(server, kill, after).await?;
        server = next;
        whole += u32::from(joined);
    }
    println!("join: {} cut off, {whole} of them had been made", arguments.kills);
    server.terminate().await?;
    Ok(report)
}

/// The moment of the kill, counted from the answer: `None` is in the midst of it, the others are
/// spread over the time that a join takes.
fn cut(kill: u32, kills: u32, took: Duration) -> Option<Duration> {
    (kill > 0).then(|| took * kill / kills)
}

struct Trial {
    plan: Plan,
    fixture: Arc<Fixture>,
    user: Account,
    members: usize,
}

impl Trial {
    fn room(&self, name: &str) -> String {
        self.fixture.open(Room::make(&self.fixture.signatory, name, self.members))
    }

    fn client(&self) -> Client {
        Client::new(self.plan.address, &self.user)
    }

    async fn timed_join(
        &self,
        server: &Server,
        room: &str,
        report: &mut Report,
    ) -> anyhow::Result<Duration> {
        let mut client = self.client();
        let (begin, cpu) = (Instant::now(), server.cpu()?);
        client.join_via(room, &self.fixture.signatory.server).await?;
        self.fixture.answered.notified().await;
        let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
        let name = format!("join a room of {} members", self.members);
        let target = Some(Target::AtMost(TARGET_MS));
        report.add(&name, took.as_secs_f64() * 1000.0, "ms", target);
        report.add(&format!("{name}, CPU"), cpu.as_secs_f64() * 1000.0, "ms", None);
        let resident = server.resident()? as f64 / f64::from(1 << 20);
        report.add("memory after it", resident, "MiB", None);
        self.check(room).await?;
        Ok(took)
    }

    /// A room of one member, who has changed their name as often as that.
    async fn long_chain(
        &self,
        server: &Server,
        chain: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let by = &self.fixture.signatory;
        let mut room = Room::make(by, "chain", 1);
        room.lengthen(by, chain);
        let room = self.fixture.open(room);
        let begin = Instant::now();
        self.client().join_via(&room, &by.server).await?;
        self.fixture.answered.notified().await;
        let name = format!("join a room with an auth chain of {chain}");
        report.add(&name, begin.elapsed().as_secs_f64() * 1000.0, "ms", None);
        let resident = server.resident()? as f64 / f64::from(1 << 20);
        report.add("memory after it", resident, "MiB", None);
        let members = self.client().count_members(&room).await?;
        ensure!(members == 2, "{room} has {members} members");
        Ok(())
    }

    /// Kills the server during a join and starts it again. Returns whether the join had been made.
    async fn cut_off(
        &self,
        server: Server,
        kill: u32,
        after: Option<Duration>,
    ) -> anyhow::Result<(Server, bool)> {
        let room = self.room(&format!("cut{kill}"));
        let half = after.is_none();
        self.fixture.set_answering(if half { Answering::Half } else { Answering::Whole });
        let mut client = self.client();
        let (to, through) = (room.clone(), self.fixture.signatory.server.clone());
        let joining = tokio::spawn(async move { client.join_via(&to, &through).await });
        let answered = self.fixture.answered.notified();
        tokio::time::timeout(ANSWERED_WITHIN, answered).await.context("nobody asked to join")?;
        tokio::time::sleep(after.unwrap_or_default()).await;
        server.kill()?;
        let acknowledged = joining.await?.is_ok();
        ensure!(!(half && acknowledged), "half an answer was taken for a whole one");

        self.fixture.set_answering(Answering::Whole);
        let (server, _) = self.plan.start().await?;
        let joined = self.client().joined_rooms().await?.contains(&room);
        ensure!(joined || !acknowledged, "{room} was joined, and is not any more");
        let shown = self.client().sync(None, 0).await?.rooms.join.contains_key(&room);
        ensure!(joined == shown, "{room}: joined {joined}, in the first sync {shown}");
        if joined {
            self.check(&room).await?;
        } else {
            let members = self.client().count_members(&room).await;
            ensure!(members.is_err(), "{room} is not joined, and has members");
        }
        self.client().join_via(&room, &self.fixture.signatory.server).await?;
        self.check(&room).await.context("joined again")?;
        if !joined {
            self.fixture.answered.notified().await;
        }
        Ok((server, joined))
    }

    /// The room is there, with everybody in it.
    async fn check(&self, room: &str) -> anyhow::Result<()> {
        let members = self.client().count_members(room).await?;
        ensure!(members == self.members + 1, "{room} has {members} members");
        Ok(())
    }
}
