//! What lies between the servers: links that are up or down, and requests that get lost.

mod calls;

use std::{collections::HashMap, sync::OnceLock};

use events::{PublicKey, SigningKey};
use parking_lot::Mutex;
use rooms::{Rooms, ports::RemoteError};
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use stdx::Rng;

pub(crate) use self::calls::Caller;

/// Requests and answers that get lost, of a thousand.
type Permille = u64;

pub struct Network {
    names: Vec<OwnedServerName>,
    keys: HashMap<OwnedServerName, PublicKey>,
    /// In the order of the names; there once all servers are.
    rooms: OnceLock<Vec<Rooms>>,
    faults: Mutex<Faults>,
    lie: Mutex<Option<Lie>>,
}

/// A server that keeps history to itself and tells one state event of the past for its successor.
#[derive(Clone)]
struct Lie {
    server: usize,
    truth: OwnedEventId,
    told: OwnedEventId,
    was_told: bool,
}

struct Faults {
    rng: Rng,
    /// The side of a split that each server is on.
    side: Vec<u8>,
    loss: Permille,
}

impl Network {
    /// All links are up, nothing gets lost.
    pub fn new(names: Vec<OwnedServerName>, rng: Rng) -> Self {
        let keys = names.iter().map(|name| (name.clone(), key_of(name).public_key())).collect();
        let faults = Faults { rng, side: vec![0; names.len()], loss: 0 };
        Self {
            names,
            keys,
            rooms: OnceLock::new(),
            faults: Mutex::new(faults),
            lie: Mutex::new(None),
        }
    }

    /// Connects the engines, in the order of the names.
    pub fn connect(&self, rooms: Vec<Rooms>) {
        assert!(self.rooms.set(rooms).is_ok(), "a network is connected once");
    }

    /// Servers on different sides do not reach each other.
    pub fn split(&self, sides: Vec<u8>) {
        self.faults.lock().side = sides;
    }

    pub fn set_loss(&self, loss: Permille) {
        self.faults.lock().loss = loss;
    }

    pub fn heal(&self) {
        let mut faults = self.faults.lock();
        faults.side.fill(0);
        faults.loss = 0;
    }

    /// From now on `server` gives no missing events, and states with `told` in the place of `truth`.
    pub(crate) fn lie(&self, server: usize, truth: OwnedEventId, told: OwnedEventId) {
        *self.lie.lock() = Some(Lie { server, truth, told, was_told: false });
    }

    pub(crate) fn has_lied(&self) -> bool {
        self.lie.lock().as_ref().is_some_and(|lie| lie.was_told)
    }

    fn lies(&self, server: &ServerName) -> bool {
        self.lie.lock().as_ref().is_some_and(|lie| self.names[lie.server] == server)
    }

    /// What `server` says that the state is.
    fn told(&self, server: &ServerName, mut state: Vec<OwnedEventId>) -> Vec<OwnedEventId> {
        let mut lie = self.lie.lock();
        if let Some(lie) = lie.as_mut().filter(|lie| self.names[lie.server] == server) {
            for id in state.iter_mut().filter(|id| **id == lie.truth) {
                id.clone_from(&lie.told);
                lie.was_told = true;
            }
        }
        state
    }

    pub fn name(&self, server: usize) -> &ServerName {
        &self.names[server]
    }

    pub fn is_connected(&self, from: usize, to: usize) -> bool {
        let faults = self.faults.lock();
        faults.side[from] == faults.side[to]
    }

    /// Whether this request, or this answer, arrives. Each is asked for once.
    pub fn arrives(&self, from: usize, to: usize) -> bool {
        let faults = self.faults.lock();
        faults.side[from] == faults.side[to]
            && (faults.loss == 0 || faults.rng.below(1000) >= faults.loss)
    }

    pub(crate) fn find(&self, name: &ServerName) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn engine(&self, server: usize) -> Option<&Rooms> {
        self.rooms.get().and_then(|rooms| rooms.get(server))
    }

    fn unreachable(&self, server: &ServerName, reason: &str) -> RemoteError {
        RemoteError::Unreachable { server: server.to_owned(), reason: reason.to_owned() }
    }
}

/// Everybody knows everybody's key: how keys travel is another matter.
pub(crate) fn key_of(name: &ServerName) -> SigningKey {
    let mut seed = [0; 32];
    for (index, byte) in name.as_str().bytes().enumerate() {
        seed[index % 32] ^= byte;
    }
    SigningKey::from_seed(&seed, "sim").expect("the version of the key is well-formed")
}
