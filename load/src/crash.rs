//! `load crash`: rounds of load, a kill at a random moment, a restart, and the question whether the
//! server still knows everything that it had acknowledged.

mod history;
mod reader;
mod verdict;
mod world;
mod writer;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::future;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinHandle;

use self::{
    history::Histories,
    reader::Reader,
    verdict::Tally,
    world::World,
    writer::{Attempt, Writer},
};
use crate::{
    powerloss::{self, Dropped, PowerLoss},
    server::{Plan, Server},
};

/// The kill comes this long after the first acknowledgement of a round.
const KILL_AFTER_MS: std::ops::Range<u64> = 100..1500;
const FIRST_ACKNOWLEDGEMENT_WITHIN: Duration = Duration::from_secs(30);
/// After the kill a writer or reader sees its connection end at once.
const END_WITHIN: Duration = Duration::from_secs(20);
const ROUND_WITHIN: Duration = Duration::from_secs(180);

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many times the server is killed
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Storage engine: fjall or sled
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// The server's program
    #[arg(long)]
    server_bin: PathBuf,
    /// Lose power instead of the process: drop every byte that was not synced
    #[arg(long)]
    drop_unsynced: bool,
    /// Replay the moments of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data goes; removed after a run without loss
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Everything of a run that outlives a round.
struct Run {
    plan: Plan,
    power: Option<PowerLoss>,
    random: StdRng,
    world: World,
    readers: Vec<Reader>,
    histories: Histories,
    attempts: Vec<Attempt>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mode = if arguments.drop_unsynced { "power loss" } else { "kill -9" };
    println!("crash: {}, {mode}, {} rounds, seed {seed}", arguments.engine, arguments.rounds);
    if arguments.drop_unsynced {
        powerloss::check().context("the model of power loss does not work here")?;
    }
    let directory = arguments.directory.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("meridian-crash-{}", std::process::id()))
    });
    let tally = rounds(&arguments, &directory, seed)
        .await
        .with_context(|| format!("the data is kept in {}", directory.display()))?;
    println!("crash: {} {mode}, all rounds: {tally}", arguments.engine);
    if tally.is_clean() {
        fs::remove_dir_all(&directory)?;
        return Ok(());
    }
    bail!("acknowledged work was lost, doubled or hidden; the data is in {}", directory.display())
}

async fn rounds(arguments: &Arguments, directory: &Path, seed: u64) -> anyhow::Result<Tally> {
    let mut plan = Plan::new(&arguments.server_bin, &arguments.engine, directory)?;
    let power =
        arguments.drop_unsynced.then(|| PowerLoss::new(directory, &plan.data())).transpose()?;
    plan.environment = power.iter().flat_map(PowerLoss::environment).collect();
    let (mut server, _) = plan.start().await?;
    let world = World::create(plan.address).await?;
    let readers = Reader::all(&world).await?;
    let mut run = Run {
        plan,
        power,
        random: StdRng::seed_from_u64(seed),
        world,
        readers,
        histories: Histories::default(),
        attempts: Vec::new(),
    };
    let mut total = Tally::default();
    for round in 1..=arguments.rounds {
        let work = run.round(round, server);
        let (again, tally) = tokio::time::timeout(ROUND_WITHIN, work)
            .await
            .with_context(|| format!("round {round} took longer than {ROUND_WITHIN:?}"))??;
        server = again;
        total.add(&tally);
    }
    let whole = run.histories.read_whole(&run.world).await?;
    let found = verdict::judge(&run.attempts, &whole);
    println!("whole history, {} events: {found}", whole.values().map(Vec::len).sum::<usize>());
    // What a round found already is not counted twice.
    total.lost = total.lost.max(found.lost);
    total.duplicated = total.duplicated.max(found.duplicated);
    total.changed = total.changed.max(found.changed);
    drop(server);
    Ok(total)
}

impl Run {
    async fn round(&mut self, round: u32, server: Server) -> anyhow::Result<(Server, Tally)> {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers: Vec<JoinHandle<Vec<Attempt>>> = Writer::all(&self.world, round)
            .into_iter()
            .map(|writer| tokio::spawn(writer.write(Arc::clone(&acknowledged))))
            .collect();
        let address = self.plan.address;
        let readers: Vec<JoinHandle<Reader>> = self
            .readers
            .drain(..)
            .map(|reader| tokio::spawn(reader.read_until_broken(address)))
            .collect();

        let kill_after = Duration::from_millis(self.random.random_range(KILL_AFTER_MS));
        wait_for_first(&acknowledged).await?;
        tokio::time::sleep(kill_after).await;
        server.kill()?;
        let mut attempts: Vec<Attempt> = join(writers).await?.into_iter().flatten().collect();
        self.readers = join(readers).await?;
        let dropped = self.power.as_ref().map(PowerLoss::strike).transpose()?;

        let (server, up_after) = self.plan.start().await?;
        let mut tally =
            writer::retry_unanswered(&self.world, &mut attempts).await.context("retry")?;
        let history = self.histories.read_new(&self.world).await.context("history")?;
        tally.add(&verdict::judge(&attempts, &history.events));
        tally.lost += history.broken;
        for reader in &mut self.readers {
            let expected = reader.expected(&history.events);
            reader.catch_up(address, &expected).await.context("catch up")?;
            tally.add(&verdict::judge_reader(&reader.take_order(), &expected));
            tally.repeated += reader.take_repeated();
        }
        // Only now: a retry of something lost would write it again.
        let again = writer::retry_answered(&self.world, &mut attempts, &mut self.random).await;
        tally.add(&again.context("retry")?);
        print_round(round, &tally, kill_after, up_after, dropped.as_ref());
        self.attempts.append(&mut attempts);
        Ok((server, tally))
    }
}

async fn wait_for_first(acknowledged: &AtomicU64) -> anyhow::Result<()> {
    let begin = Instant::now();
    while acknowledged.load(Ordering::Relaxed) == 0 {
        if begin.elapsed() > FIRST_ACKNOWLEDGEMENT_WITHIN {
            bail!("no write was acknowledged in {FIRST_ACKNOWLEDGEMENT_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn join<T>(tasks: Vec<JoinHandle<T>>) -> anyhow::Result<Vec<T>> {
    let all = tokio::time::timeout(END_WITHIN, future::try_join_all(tasks));
    Ok(all.await.context("a connection outlived the server")??)
}

fn print_round(
    round: u32,
    tally: &Tally,
    kill_after: Duration,
    up_after: Duration,
    dropped: Option<&Dropped>,
) {
    let dropped = dropped.map_or_else(String::new, |dropped| {
        format!(", {} bytes of {} files dropped", dropped.bytes, dropped.files)
    });
    println!(
        "round {round}: {tally}; killed after {} ms{dropped}, up again in {} ms",
        kill_after.as_millis(),
        up_after.as_millis()
    );
}
