//! The two state resets of MSC4297, on servers: one of them is told an outdated state.
//!
//! A server that misses history asks another for the state, and gets one that was true once. State
//! resolution of version 2.1 (rooms of version 12) must not fall for it.

use anyhow::{Context as _, ensure};
use rooms::{MembershipChange, Profile};
use ruma::OwnedEventId;
use serde_json::json;

use crate::world::World;

/// Tells the outdated state.
const LIAR: usize = 1;
/// Believes it.
const VICTIM: usize = 2;

/// What the victim has in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What was in force before the lie; all servers end with the same state.
    Current,
    /// What the liar said.
    Outdated,
    /// Nothing.
    Lost,
}

/// Problem A: the liar has outdated join rules, and who set both the old and the new ones has left.
pub async fn problem_a(version: &str, seed: u64) -> anyhow::Result<Ending> {
    let mut world = three_servers(version, seed).await?;
    let alice = world.servers[0].users[0].clone();
    world.settle().await?;
    let outdated = world.in_force(VICTIM, "m.room.join_rules").await?.context("join rules")?;
    let invite_only = json!({ "join_rule": "invite" });
    ensure!(world.set(0, &alice, "m.room.join_rules", &invite_only).await?, "the new join rules");
    world.servers[0].rooms.leave(&world.room, &alice, None).await?;
    world.settle().await?;
    world.mislead("m.room.join_rules", outdated).await
}

/// Problem B: the liar has outdated power levels, and the step from them to the current ones is one
/// that both sides have seen.
pub async fn problem_b(version: &str, seed: u64) -> anyhow::Result<Ending> {
    let mut world = three_servers(version, seed).await?;
    let [alice, bob, carol] = [0, 1, 2].map(|server: usize| world.servers[server].users[0].clone());
    world.settle().await?;
    let outdated = world.in_force(VICTIM, "m.room.power_levels").await?.context("power levels")?;
    let mut levels = json!({ "users": { bob.as_str(): 100 } });
    if version != "12" {
        levels["users"][alice.as_str()] = json!(100);
    }
    ensure!(world.set(0, &alice, "m.room.power_levels", &levels).await?, "Bob's promotion");
    world.settle().await?;
    levels["users"][carol.as_str()] = json!(50);
    ensure!(world.set(1, &bob, "m.room.power_levels", &levels).await?, "Carol's promotion");
    world.settle().await?;
    let dave = world.servers[0].users[1].clone();
    world.join(0, &dave, 0).await?;
    world.settle().await?;
    world.mislead("m.room.power_levels", outdated).await
}

async fn three_servers(version: &str, seed: u64) -> anyhow::Result<World> {
    let mut world = World::new(seed, version, 3, 2).await?;
    let alice = world.servers[0].users[0].clone();
    for server in [1, 2] {
        let user = world.servers[server].users[0].clone();
        let change =
            MembershipChange { room_id: &world.room, sender: &alice, target: &user, reason: None };
        world.servers[0].rooms.invite(change, Profile::default(), false).await?;
        world.join(server, &user, 0).await?;
        world.settle().await?;
    }
    Ok(world)
}

impl World {
    /// Delivers everything.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.tick();
        self.collect().await?;
        self.deliver_all().await
    }

    async fn in_force(
        &self,
        server: usize,
        event_type: &str,
    ) -> anyhow::Result<Option<OwnedEventId>> {
        let view = self.servers[server].view(&self.room).await?.context("it is in the room")?;
        let event = self.servers[server].rooms.state_get(view.state, event_type, "").await?;
        Ok(event.map(|event| event.event_id().clone()))
    }

    /// The victim gets an event of the liar, whose predecessor it never sees, and is told a state
    /// before it with `outdated` in it.
    async fn mislead(
        &mut self,
        event_type: &str,
        outdated: OwnedEventId,
    ) -> anyhow::Result<Ending> {
        let current = self.in_force(VICTIM, event_type).await?.context("it is in force")?;
        self.network.lie(LIAR, current.clone(), outdated.clone());
        let bob = self.servers[LIAR].users[0].clone();
        let carol = self.servers[VICTIM].users[0].clone();
        for _ in 0..2 {
            ensure!(self.say(LIAR, &bob).await?, "the liar's messages");
        }
        ensure!(self.say(VICTIM, &carol).await?, "the victim's message");
        self.collect().await?;
        self.outboxes.keep_latest(LIAR, VICTIM);
        self.deliver_all().await?;
        ensure!(self.network.has_lied(), "nobody asked for the state");
        let found = self.in_force(VICTIM, event_type).await?;
        Ok(match found {
            Some(id) if id == current => {
                let differences = self.converge().await?.differences;
                ensure!(differences.is_empty(), "they disagree afterwards: {differences:?}");
                Ending::Current
            }
            Some(id) if id == outdated => Ending::Outdated,
            Some(id) => anyhow::bail!("{id} is in force, which nobody said"),
            None => Ending::Lost,
        })
    }
}
