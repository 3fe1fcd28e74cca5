//! Several engines in one process, joined by a network in memory that a test can break: servers
//! that are down, answers that are altered, requests that stop half-way.

mod calls;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use events::{PublicKey, SigningKey};
use parking_lot::Mutex;
use rooms::{
    Config, RelayFact, Rooms,
    ports::{FullState, Ports, SentJoin, StateIds, Template},
    stream,
};
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName};
use serde_json::value::RawValue;
use stdx::{ManualClock, Rng};
use storage::{Position, Store};
use tokio::sync::Semaphore;

use self::calls::Caller;
use crate::world::{START, World};

/// The version of every key of the network.
const KEY: &str = "wire";

/// What a server answers. A test may put something else there.
#[derive(Debug)]
pub(crate) enum Answer {
    Made(Template),
    Joined(SentJoin),
    /// `send_leave`
    Left,
    /// `send_knock`
    Knocked(Vec<Bytes>),
    Invited(Bytes),
    Missing(Vec<Bytes>),
    Backfilled(Vec<Bytes>),
    Event(Bytes),
    EventAuth(Vec<Bytes>),
    StateIds(StateIds),
    State(FullState),
    Recommended(Box<RawValue>),
}

pub(crate) type Mischief = Arc<dyn Fn(&mut Answer) + Send + Sync>;

/// A request: the name of the port's function, and who is asked.
pub(crate) type Call = (&'static str, OwnedServerName);

/// Where requests of one kind wait.
pub(crate) struct Gate {
    /// One permit for each request that came so far.
    pub(crate) reached: Semaphore,
    /// One permit for each request that may go on.
    pub(crate) open: Semaphore,
}

#[derive(Default)]
struct State {
    engines: HashMap<OwnedServerName, Rooms>,
    keys: HashMap<OwnedServerName, PublicKey>,
    down: HashSet<OwnedServerName>,
    mischief: HashMap<OwnedServerName, Mischief>,
    gates: HashMap<&'static str, Arc<Gate>>,
    /// Events at which no server knows the state.
    stateless: HashSet<OwnedEventId>,
    calls: Vec<Call>,
    relayed: HashMap<OwnedServerName, Position>,
}

#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<State>>);

pub(crate) fn name(server: &str) -> OwnedServerName {
    ServerName::parse(server).expect("a server name")
}

/// A key of its own for each server.
pub(crate) fn key_of(server: &str) -> SigningKey {
    let mut seed = [0; 32];
    for (index, byte) in server.bytes().enumerate() {
        seed[index % 32] ^= byte.rotate_left(u32::try_from(index / 32).unwrap_or_default());
    }
    SigningKey::from_seed(&seed, KEY).expect("a key")
}

/// By which every server of the network recommends events.
pub(crate) fn policy_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32], "policy_server").expect("a key")
}

impl Wire {
    /// A server of the network, on a new store.
    pub(crate) fn server(&self, server: &str) -> World {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        self.server_on(server, store)
    }

    /// The same server, after the end of its process.
    pub(crate) fn restarted(&self, world: &World) -> World {
        self.server_on(&world.server, world.store.clone())
    }

    pub(crate) fn server_on(&self, server: &str, store: Store) -> World {
        let clock = ManualClock::new(START);
        let key = key_of(server);
        self.0.lock().keys.insert(name(server), key.public_key());
        let caller = Arc::new(Caller { wire: self.clone(), from: name(server) });
        let ports = Ports { remote: caller.clone(), keys: caller };
        let seed = server.bytes().map(u64::from).sum::<u64>() ^ (store.log().position() << 16);
        let config = Config::default();
        let rooms = Rooms::new(
            config,
            store.clone(),
            clock.clone(),
            Rng::from_seed(seed),
            name(server),
            key,
            ports,
        )
        .expect("the configuration is good");
        self.0.lock().engines.insert(name(server), rooms.clone());
        World { rooms, store, server: server.to_owned(), clock }
    }

    /// The server answers nobody and asks nobody.
    pub(crate) fn set_down(&self, server: &str, down: bool) {
        let mut state = self.0.lock();
        if down {
            state.down.insert(name(server));
        } else {
            state.down.remove(&*name(server));
        }
    }

    /// From now on the server's answers pass through `alter`.
    pub(crate) fn corrupt(
        &self,
        server: &str,
        alter: impl Fn(&mut Answer) + Send + Sync + 'static,
    ) {
        self.0.lock().mischief.insert(name(server), Arc::new(alter));
    }

    /// What the server's answers pass through.
    pub(crate) fn mischief(&self, server: &str) -> Mischief {
        self.0.lock().mischief.get(&*name(server)).cloned().unwrap_or_else(|| Arc::new(|_| {}))
    }

    pub(crate) fn mend(&self, server: &str) {
        self.0.lock().mischief.remove(&*name(server));
    }

    /// No server says what the state is before this event.
    pub(crate) fn hide_state_at(&self, event: &EventId) {
        self.0.lock().stateless.insert(event.to_owned());
    }

    /// Answers to these requests are held back, after they had their effect, until the gate opens.
    pub(crate) fn gate(&self, call: &'static str) -> Arc<Gate> {
        let gate = Arc::new(Gate { reached: Semaphore::new(0), open: Semaphore::new(0) });
        self.0.lock().gates.insert(call, Arc::clone(&gate));
        gate
    }

    pub(crate) fn lift_gates(&self) {
        let gates = std::mem::take(&mut self.0.lock().gates);
        gates.values().for_each(|gate| gate.open.add_permits(1000));
    }

    /// The requests since this was asked for last, in order.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().calls)
    }

    /// How many requests of that kind there were since they were taken last.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.0.lock().calls.iter().filter(|(name, _)| *name == call).count()
    }

    /// Brings what the servers have for each other to those that are up, until there is no more.
    pub(crate) async fn deliver(&self, worlds: &[&World]) {
        loop {
            let mut delivered = 0;
            for world in worlds {
                for fact in self.take_relays(world).await {
                    let event = world.rooms.event_by_id(&fact.event_id).await.expect("reads");
                    let event = event.expect("what is relayed is stored");
                    for server in &fact.servers {
                        let room = event.pdu.room_id();
                        self.hand_over(world, server, room, event.pdu.json().clone()).await;
                        delivered += 1;
                    }
                }
            }
            if delivered == 0 {
                return;
            }
        }
    }

    async fn take_relays(&self, world: &World) -> Vec<RelayFact> {
        let server = name(&world.server);
        let from = self.0.lock().relayed.get(&server).copied().unwrap_or_default();
        let up_to = world.store.log().position();
        let facts = world.store.facts(from, up_to, usize::MAX).await.expect("reads");
        self.0.lock().relayed.insert(server, up_to);
        let relays = facts.iter().filter(|logged| logged.fact.stream == stream::RELAY);
        relays.filter_map(|logged| RelayFact::from_fact(&logged.fact)).collect()
    }

    /// What a server that is down misses, it misses for good.
    async fn hand_over(&self, from: &World, to: &ServerName, room: &RoomId, pdu: Bytes) {
        if let Some(engine) = self.engine(&name(&from.server), to) {
            let _any_verdict = engine.receive(&name(&from.server), room, vec![pdu]).await;
        }
    }

    fn engine(&self, from: &ServerName, to: &ServerName) -> Option<Rooms> {
        let state = self.0.lock();
        let is_up = !state.down.contains(from) && !state.down.contains(to) && from != to;
        state.engines.get(to).filter(|_| is_up).cloned()
    }
}
