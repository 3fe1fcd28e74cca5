//! The servers, what is on its way between them, and one room.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use rooms::{CreateRoom, JoinRequest, Preset, Profile, ReceiveError};
use ruma::{OwnedRoomId, OwnedServerName, ServerName, UserId};
use serde_json::{json, value::to_raw_value};
use stdx::Rng;

use crate::{
    network::Network,
    outbox::{Outboxes, TRANSACTION},
    server::Server,
};

const START_MS: u64 = 1_700_000_000_000;
/// Clocks are up to this wrong.
const SKEW_MS: u64 = 2 * 3600 * 1000;
/// Deliveries without an end mean that servers keep each other busy.
const DELIVERIES_MAX: usize = 100_000;

/// What the servers made of what they were sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub accepted: u64,
    pub known: u64,
    pub soft_failed: u64,
    pub rejected: u64,
    /// Nothing was kept: the server is not in the room, or lacks what comes before.
    pub refused: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.known += other.known;
        self.soft_failed += other.soft_failed;
        self.rejected += other.rejected;
        self.refused += other.refused;
    }
}

pub struct World {
    pub servers: Vec<Server>,
    pub network: Arc<Network>,
    pub rng: Rng,
    pub room: OwnedRoomId,
    pub counts: Counts,
    pub(crate) outboxes: Outboxes,
    /// Tells what happens, line by line.
    pub(crate) trace: bool,
}

impl World {
    /// Servers with some users each, and a public room on the first, which nobody else is in yet.
    pub async fn new(
        seed: u64,
        version: &str,
        servers: usize,
        users: usize,
    ) -> anyhow::Result<Self> {
        let rng = Rng::from_seed(seed);
        let names = (0..servers).map(|index| ServerName::parse(format!("s{index}.test")));
        let names: Vec<OwnedServerName> = names.collect::<Result<_, _>>()?;
        let network = Arc::new(Network::new(names, Rng::from_seed(rng.next_u64())));
        let open = |index| {
            let now = START_MS + rng.below(SKEW_MS);
            Server::open(&network, index, users, now, rng.next_u64())
        };
        let servers: Vec<Server> = (0..servers).map(open).collect::<anyhow::Result<_>>()?;
        network.connect(servers.iter().map(|server| server.rooms.clone()).collect());
        let creator = servers[0].users[0].clone();
        let levels = to_raw_value(&json!({ "invite": 0 }))?;
        let request = CreateRoom {
            preset: Some(Preset::PublicChat),
            room_version: Some(version),
            power_level_content_override: Some(&levels),
            ..CreateRoom::new(&creator)
        };
        let room = servers[0].rooms.create(request).await.context("the room is created")?;
        let outboxes = Outboxes::default();
        let (counts, trace) = (Counts::default(), false);
        Ok(Self { servers, network, rng, room, counts, outboxes, trace })
    }

    pub async fn join(&self, server: usize, user: &UserId, via: usize) -> Result<(), rooms::Error> {
        let request = JoinRequest {
            room_id: &self.room,
            user,
            profile: Profile::default(),
            guest: false,
            reason: None,
            extra: None,
            via: vec![self.network.name(via).to_owned()],
        };
        self.servers[server].rooms.join(request).await
    }

    /// Puts what the servers have for each other into the outboxes.
    pub async fn collect(&mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            for relay in server.take_relays().await? {
                let event = server.event(&relay.event_id).await?;
                let event = event.with_context(|| format!("{} is not stored", relay.event_id))?;
                let targets = relay.servers.iter().filter_map(|name| self.network.find(name));
                for to in targets {
                    self.outboxes.push(server.index, to, event.pdu.json().clone());
                }
            }
        }
        Ok(())
    }

    /// Delivers up to `limit` PDUs that wait between two servers, in any order. What gets lost stays
    /// where it is and is sent again.
    pub async fn deliver(&mut self, from: usize, to: usize, limit: usize) -> anyhow::Result<()> {
        let mut pdus = self.outboxes.next(from, to, limit);
        if pdus.is_empty() || !self.network.arrives(from, to) {
            return Ok(());
        }
        let count = pdus.len();
        self.shuffle(&mut pdus);
        self.receive(from, to, pdus).await?;
        if self.network.arrives(to, from) {
            self.outboxes.done(from, to, count);
        }
        Ok(())
    }

    /// Hands PDUs to a server as another one's.
    pub async fn receive(
        &mut self,
        from: usize,
        to: usize,
        pdus: Vec<Bytes>,
    ) -> anyhow::Result<()> {
        let origin = self.network.name(from).to_owned();
        let outcomes = self.servers[to].rooms.receive(&origin, &self.room, pdus).await;
        for outcome in outcomes {
            if self.trace {
                println!("  {origin} -> {}: {outcome:?}", self.network.name(to));
            }
            let count = match outcome.result {
                Ok(rooms::Received::Accepted) => &mut self.counts.accepted,
                Ok(rooms::Received::Known) => &mut self.counts.known,
                Ok(rooms::Received::SoftFailed(_)) => &mut self.counts.soft_failed,
                Ok(rooms::Received::Rejected(_)) => &mut self.counts.rejected,
                Err(ReceiveError::UnknownRoom | ReceiveError::MissingContext(_)) => {
                    &mut self.counts.refused
                }
                Err(error) => anyhow::bail!("{origin} -> {to}: {error}"),
            };
            *count += 1;
        }
        self.collect().await
    }

    /// Delivers everything, whatever it leads to, between servers that reach each other.
    pub async fn deliver_all(&mut self) -> anyhow::Result<()> {
        for _ in 0..DELIVERIES_MAX {
            let waiting = self.outboxes.waiting();
            let open: Vec<_> = waiting
                .into_iter()
                .filter(|&(from, to)| self.network.is_connected(from, to))
                .collect();
            let Some(&(from, to)) = self.pick(&open) else { return Ok(()) };
            let limit = 1 + self.rng.below(TRANSACTION as u64) as usize;
            self.deliver(from, to, limit).await?;
        }
        anyhow::bail!("{DELIVERIES_MAX} deliveries do not end")
    }

    pub fn pick<'t, T>(&self, from: &'t [T]) -> Option<&'t T> {
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        from.get(self.rng.below(count) as usize)
    }

    fn shuffle<T>(&self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.rng.below(index as u64 + 1) as usize);
        }
    }

    /// Time passes, for each server as it likes.
    pub fn tick(&self) {
        for server in &self.servers {
            server.clock.advance(self.rng.below(3000));
        }
    }
}
