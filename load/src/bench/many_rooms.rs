//! An account that is in very many rooms, and what its syncs cost: the initial one, the first window
//! of sliding sync, and those that a message wakes.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    Scale, initial_sync, population::Population, report::Report, sliding_window, waking_sync,
};
use crate::{
    client::{Account, Client},
    server::{Plan, Server},
};

/// Those who are in the rooms together with the account, each in a part of them.
const NEIGHBOURS: usize = 24;
/// Of each room, beside the account.
const MEMBERS: usize = 8;
const MESSAGES: usize = 10;
/// Every third room has no name: clients name it after its members.
const UNNAMED: usize = 3;
const AT_ONCE: usize = 48;
/// A server that did hardly anything for so long is at rest.
const REST: Duration = Duration::from_secs(1);
const REST_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct ManyRooms {
    pub(super) account: Account,
    pub(super) neighbours: Vec<Account>,
    /// Each has `MEMBERS` neighbours; the first of them created it.
    pub(super) rooms: Vec<String>,
}

impl ManyRooms {
    /// The neighbour with this number among those of a room.
    pub(super) fn member(&self, room: usize, number: usize) -> &Account {
        &self.neighbours[(room + number) % self.neighbours.len()]
    }

    async fn create(crowd: Population, count: usize) -> anyhow::Result<Self> {
        let mut accounts = crowd.accounts;
        let account = accounts.pop().context("a population is not empty")?;
        let mut many = Self { account, neighbours: accounts, rooms: Vec::new() };
        many.rooms = stream::iter(0..count)
            .map(|number| many.room(crowd.address, number))
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .context("rooms")?;
        Ok(many)
    }

    async fn room(&self, address: SocketAddr, number: usize) -> anyhow::Result<String> {
        let mut members: Vec<_> = (0..MEMBERS)
            .map(|member| Client::new(address, self.member(number, member)))
            .chain([Client::new(address, &self.account)])
            .collect();
        let room = members[0].create_room_with(&description(number)).await?;
        for member in &mut members[1..] {
            member.join(&room).await?;
        }
        for message in 0..MESSAGES {
            let text = format!("Message {message}: the minutes of the meeting are in the folder.");
            let sender = &mut members[message % MEMBERS];
            sender.send(&room, &format!("r{number}m{message}"), &text).await?;
        }
        Ok(room)
    }
}

fn description(number: usize) -> Value {
    let mut description = json!({
        "preset": "public_chat",
        "topic": "What the people on floor four have to tell each other",
    });
    if !number.is_multiple_of(UNNAMED) {
        description["name"] = json!(format!("Room number {number}"));
    }
    description
}

/// On a server of its own: others' rooms are not to be in its memory.
pub(super) async fn measure(report: &mut Report, scale: &Scale, plan: &Plan) -> anyhow::Result<()> {
    let (server, _) = plan.start().await?;
    println!("bench: an account in {} rooms", scale.rooms);
    let crowd = Population::create(plan.address, "many", NEIGHBOURS + 1).await?;
    let many = ManyRooms::create(crowd, scale.rooms).await?;
    let (time, address, many) = (scale.time, plan.address, &many);
    at_rest(&server).await?;
    let measured = Measured { time, address, many, server: &server };
    initial_sync::measure(report, &measured).await?;
    sliding_window::measure(report, &measured).await?;
    waking_sync::measure(report, &measured).await?;
    server.terminate().await?;
    let (server, _) = plan.start().await?;
    at_rest(&server).await?;
    let measured = Measured { time, address, many, server: &server };
    initial_sync::measure_after_start(report, &measured).await
}

/// Those who follow the log are done with what has happened: their work is not that of a sync.
async fn at_rest(server: &Server) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut cpu = server.cpu()?;
    while begin.elapsed() < REST_WITHIN {
        tokio::time::sleep(REST).await;
        let now = server.cpu()?;
        if now - cpu < REST / 50 {
            return Ok(());
        }
        cpu = now;
    }
    println!("bench: the server is still busy after {REST_WITHIN:?}: the figures hold that too");
    Ok(())
}

/// What is measured, and for how long.
pub(super) struct Measured<'a> {
    pub(super) time: Duration,
    pub(super) server: &'a Server,
    pub(super) address: SocketAddr,
    pub(super) many: &'a ManyRooms,
}
