//! Carries what happens to the application services that are interested in it.
//!
//! Follows the log (`follow.rs`): events get a row in the outbox of each that wants them, what need
//! not arrive waits in memory (`pending.rs`). Each has a task of its own (`queue.rs`), which sends one
//! transaction after the other and keeps at it. One that is slow or gone costs the others nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use presence::Presence;
use rooms::Rooms;
use stdx::{Rng, SharedClock, Tasks};
use storage::Store;
use tokio::sync::Notify;

use crate::{
    Appservices, Registration, call::Caller, interest::Interest, pending::Pending,
    store::DeliveryStore,
};

/// How patient the sender is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Before an application service that did not answer is tried again; doubled each time.
    pub retry_min: Duration,
    pub retry_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { retry_min: Duration::from_secs(1), retry_max: Duration::from_secs(300) }
    }
}

/// What the sender is made of.
pub struct Pieces {
    pub appservices: Appservices,
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub rooms: Rooms,
    pub presence: Presence,
}

#[derive(Clone)]
pub(crate) struct Deliveries {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: DeliveryStore,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) rooms: Rooms,
    pub(crate) presence: Presence,
    pub(crate) caller: Caller,
    pub(crate) interest: Interest,
    /// In the order in which `interest` knows them.
    pub(crate) queues: Vec<Arc<Queue>>,
}

/// One application service that things are sent to.
pub(crate) struct Queue {
    pub(crate) service: Arc<Registration>,
    pub(crate) pending: Mutex<Pending>,
    /// There is something new to look at.
    pub(crate) news: Notify,
    /// It has answered something else.
    pub(crate) contact: Arc<Notify>,
    /// Events in its outbox.
    pub(crate) waiting: AtomicUsize,
}

impl Queue {
    pub(crate) fn id(&self) -> &str {
        &self.service.id
    }

    /// Those that were given up may be counted twice.
    pub(crate) fn waits_less(&self, less: usize) {
        let left = |waiting: usize| Some(waiting.saturating_sub(less));
        let _always_some = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }
}

/// Spawns what follows the log, and a task for each application service with an URL.
pub fn deliver(config: Config, pieces: Pieces, tasks: &Tasks) {
    let Pieces { appservices, store, clock, rng, rooms, presence } = pieces;
    let store = DeliveryStore(store);
    let queues: Vec<_> = appservices.with_urls().map(queue).collect();
    if queues.is_empty() {
        return;
    }
    // What happens before the tasks have begun is theirs too.
    let now = store.0.log().position();
    let (typing, states) = (rooms.typing_changes(), presence.changes());
    let seen = presence.sequence();
    let log = store.0.consume("appservice", now);
    let services = queues.iter().map(|queue| Arc::clone(&queue.service)).collect();
    let inner = Inner {
        config,
        interest: Interest::new(rooms.clone(), services),
        caller: appservices.caller(),
        store,
        clock,
        rng,
        rooms,
        presence,
        queues,
    };
    let deliveries = Deliveries { inner: Arc::new(inner) };
    tasks.spawn_until_stopped("appservice log", deliveries.clone().follow_log(log, now));
    let has_ephemeral = |queue: &Arc<Queue>| queue.service.receive_ephemeral;
    if deliveries.inner.queues.iter().any(has_ephemeral) {
        tasks.spawn_until_stopped("appservice typing", deliveries.clone().follow_typing(typing));
        let presence = deliveries.clone().follow_presence(states, seen);
        tasks.spawn_until_stopped("appservice presence", presence);
    }
    for queue in &deliveries.inner.queues {
        let run = deliveries.clone().run_queue(Arc::clone(queue));
        tasks.spawn_until_stopped("appservice queue", run);
    }
}

fn queue((service, contact): (&Arc<Registration>, &Arc<Notify>)) -> Arc<Queue> {
    Arc::new(Queue {
        service: Arc::clone(service),
        pending: Mutex::default(),
        news: Notify::new(),
        contact: Arc::clone(contact),
        waiting: AtomicUsize::new(0),
    })
}
