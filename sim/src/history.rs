//! One history, from its seed.

use anyhow::Context as _;

use crate::{
    converge::Converged,
    world::{Counts, World},
};

/// What makes a history; two of the same are the same.
#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    /// Of the room.
    pub version: String,
    /// Prints each step.
    pub trace: bool,
}

#[derive(Debug)]
pub struct Outcome {
    pub converged: Converged,
    pub counts: Counts,
    /// The differences, for people.
    pub report: Vec<String>,
}

/// Runs a history to its end on this thread. An error is a fault of a server, as a difference in
/// the outcome is.
pub fn run(history: &History) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.context("a runtime")?;
    runtime.block_on(Box::pin(live(history)))
}

async fn live(history: &History) -> anyhow::Result<Outcome> {
    let count = 2 + (history.seed % 4) as usize;
    let mut world = World::new(history.seed, &history.version, count, 2).await?;
    world.trace = history.trace;
    for server in 1..count {
        let user = world.servers[server].users[0].clone();
        world.join(server, &user, 0).await.context("the first joins")?;
        world.collect().await?;
        world.deliver_all().await?;
    }
    let steps = 20 + world.rng.below(60);
    for _ in 0..steps {
        world.act().await?;
        for _ in 0..world.rng.below(3) {
            world.disturb().await?;
        }
    }
    let converged = world.converge().await?;
    let mut report = Vec::new();
    for difference in &converged.differences {
        report.push(world.describe(difference).await?);
    }
    if let Some(first) = converged.differences.first() {
        report.push(world.blame(first.servers.0, first.servers.1).await?);
    }
    Ok(Outcome { converged, counts: world.counts, report })
}
