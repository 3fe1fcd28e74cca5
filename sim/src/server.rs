//! One server: its engine on a store in memory, and a clock that is its own.

use std::sync::Arc;

use anyhow::Context as _;
use rooms::{Config, RelayFact, RoomView, Rooms, StoredEvent, ports::Ports, stream};
use ruma::{EventId, OwnedUserId, RoomId, UserId};
use stdx::{ManualClock, Rng};
use storage::{Position, Store};

use crate::network::{Caller, Network, key_of};

/// Facts read at once.
const PAGE: usize = 100;

pub struct Server {
    pub index: usize,
    pub rooms: Rooms,
    pub clock: Arc<ManualClock>,
    pub users: Vec<OwnedUserId>,
    store: Store,
    /// Facts up to here have been relayed.
    relayed: Position,
}

impl Server {
    pub(crate) fn open(
        network: &Arc<Network>,
        index: usize,
        users: usize,
        now_ms: u64,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let name = network.name(index).to_owned();
        let store = Store::open(&storage::Config::memory(), 1).context("a store in memory")?;
        let clock = ManualClock::new(now_ms);
        let caller = Arc::new(Caller { network: Arc::clone(network), from: index });
        let ports = Ports { remote: caller.clone(), keys: caller };
        let config = Config { cached_rooms: 8, ..Config::default() };
        let rng = Rng::from_seed(seed);
        let key = key_of(&name);
        let users = (0..users).map(|user| UserId::parse(format!("@u{user}:{name}")));
        Ok(Self {
            index,
            users: users.collect::<Result<_, _>>()?,
            rooms: Rooms::new(config, store.clone(), clock.clone(), rng, name, key, ports)?,
            clock,
            store,
            relayed: 0,
        })
    }

    pub async fn view(&self, room: &RoomId) -> anyhow::Result<Option<Arc<RoomView>>> {
        let view = self.rooms.room(room).await?;
        Ok(view.filter(|view| !view.local_joined.is_empty()))
    }

    pub async fn event(&self, id: &EventId) -> anyhow::Result<Option<Arc<StoredEvent>>> {
        Ok(self.rooms.event_by_id(id).await?)
    }

    /// Events that other servers must be sent, since this was asked for last.
    pub(crate) async fn take_relays(&mut self) -> anyhow::Result<Vec<RelayFact>> {
        let mut found = Vec::new();
        loop {
            let up_to = self.store.log().position();
            let facts = self.store.facts(self.relayed, up_to, PAGE).await?;
            let Some(last) = facts.last() else { return Ok(found) };
            self.relayed = last.position;
            let relays = facts.iter().filter(|logged| logged.fact.stream == stream::RELAY);
            found.extend(relays.filter_map(|logged| RelayFact::from_fact(&logged.fact)));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.store.close();
    }
}
