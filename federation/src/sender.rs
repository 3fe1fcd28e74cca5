//! Carries events and notices to other servers.
//!
//! Follows the log (`follow.rs`): what must arrive gets a row in the outbox of each destination,
//! what need not waits in memory (`pending.rs`). Each destination that has something to get has a
//! task (`queue.rs`), which sends one transaction after the other and keeps at it. One that is slow
//! or gone costs the others nothing.

mod bound;
mod devices;
mod follow;
mod outbox;
mod pending;
mod presence;
mod queue;
mod transaction;
mod transport;
mod typing;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use parking_lot::Mutex;
use presence::Reach;
use rooms::Rooms;
use ruma::{OwnedServerName, ServerName};
use stdx::{Rng, SharedClock, Tasks};
use storage::Store;
use tokio::sync::Semaphore;

use self::{devices::DeviceStreams, outbox::Outbox, queue::Destination};
use crate::{Client, Config};

pub use self::transport::{Sending, Transport};

/// Destinations that failed before and are being tried at the same time.
const SUSPECTS: usize = 64;

/// What the sender is made of.
pub struct SenderPieces<T = Client> {
    pub client: T,
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub tasks: Tasks,
    pub rooms: Rooms,
    pub devices: ::devices::Devices,
    pub presence: ::presence::Presence,
}

/// The way to everybody else. Cheap to clone.
#[derive(Clone)]
pub struct Sender {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    rng: Rng,
    tasks: Tasks,
    rooms: Rooms,
    devices: ::devices::Devices,
    presence: ::presence::Presence,
    outbox: Outbox,
    reach: Reach,
    device_streams: DeviceStreams,
    suspects: Semaphore,
    destinations: Mutex<HashMap<OwnedServerName, Arc<Destination>>>,
    /// With the number of this start, no transaction has the id of another: a peer answers an id that
    /// it knows without looking at what is in the transaction.
    next_txn: AtomicU64,
    boot: u64,
}

impl Sender {
    /// Spawns what follows the log, and a task for each destination that something waits for.
    pub fn new<T: Transport>(config: Config, pieces: SenderPieces<T>) -> Self {
        let SenderPieces { client, store, clock, rng, tasks, rooms, devices, presence } = pieces;
        // What happens before the tasks have begun is theirs too.
        let (now, seen) = (store.log().position(), presence.sequence());
        let (typing, states) = (rooms.typing_changes(), presence.changes());
        let inner = Inner {
            config,
            transport: Arc::new(client),
            clock,
            suspects: Semaphore::new(SUSPECTS),
            boot: rng.next_u64(),
            rng,
            rooms,
            devices,
            presence,
            outbox: Outbox::new(store.clone()),
            reach: Reach::default(),
            device_streams: DeviceStreams::default(),
            destinations: Mutex::default(),
            next_txn: AtomicU64::new(1),
            tasks: tasks.clone(),
        };
        // What happened before this server federated is nobody else's business.
        let log = store.consume("federation", now);
        let sender = Self { inner: Arc::new(inner) };
        tasks.spawn_until_stopped("federation log", sender.clone().follow_log(log, now));
        tasks.spawn_until_stopped("federation typing", sender.clone().follow_typing(typing));
        let follow_presence = sender.clone().follow_presence(states, seen);
        tasks.spawn_until_stopped("federation presence", follow_presence);
        sender
    }

    /// A server made contact: what waits for it is tried at once.
    pub fn heard_from(&self, server: &ServerName) {
        let destination = self.inner.destinations.lock().get(server).cloned();
        if let Some(destination) = destination {
            destination.heard_from();
        }
    }

    /// The destination, which is made if need be.
    fn destination(&self, server: &ServerName) -> Arc<Destination> {
        let mut destinations = self.inner.destinations.lock();
        if let Some(destination) = destinations.get(server) {
            return Arc::clone(destination);
        }
        let destination = Arc::new(Destination::new(server.to_owned()));
        destinations.insert(server.to_owned(), Arc::clone(&destination));
        destination
    }

    /// Makes sure that somebody works on what waits for the server.
    fn wake(&self, server: &ServerName) {
        let destination = self.destination(server);
        if destination.start() {
            self.spawn_queue(destination);
        }
    }

    fn spawn_queue(&self, destination: Arc<Destination>) {
        let this = self.clone();
        self.inner.tasks.spawn_until_stopped("federation queue", async move {
            this.run_queue(&destination).await;
        });
    }

    /// Other servers in a room.
    async fn servers_in(&self, room: &ruma::RoomId) -> Vec<OwnedServerName> {
        let own = self.inner.rooms.server_name();
        match self.inner.rooms.room(room).await {
            Ok(Some(view)) if view.local_joined.is_empty() => Vec::new(),
            Ok(Some(view)) => view.servers.keys().filter(|name| *name != own).cloned().collect(),
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, %room, "whom to tell cannot be read");
                Vec::new()
            }
        }
    }
}

/// One EDU as JSON.
fn edu(edu_type: &str, content: &serde_json::Value) -> Bytes {
    serde_json::json!({ "edu_type": edu_type, "content": content }).to_string().into()
}
