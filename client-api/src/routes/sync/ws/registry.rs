//! Which sockets are open, so that nobody holds too many, and the tickets to open one with.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use accounts::Session;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use ruma::{OwnedDeviceId, OwnedUserId};

/// Milliseconds for which a ticket is good.
const TICKET_LIFE_MS: u64 = 30_000;
/// Tickets of everybody that may wait to be used.
const TICKETS_MAX: usize = 100_000;

pub(super) struct Registry {
    per_device: usize,
    per_user: usize,
    open: Mutex<HashMap<OwnedUserId, VecDeque<Entry>>>,
    tickets: Mutex<Tickets>,
}

#[derive(Default)]
struct Tickets {
    sessions: HashMap<String, (Session, u64)>,
    by_age: VecDeque<String>,
}

struct Entry {
    device_id: OwnedDeviceId,
    call: Arc<Call>,
}

/// What one socket waits for; made once.
#[derive(Default)]
struct Call {
    is_made: AtomicBool,
    waker: AtomicWaker,
}

impl Call {
    fn make(&self) {
        self.is_made.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// An open socket; its place is free again when this is dropped.
pub(super) struct Place {
    registry: Arc<Registry>,
    user_id: OwnedUserId,
    call: Arc<Call>,
}

impl Place {
    /// Resolves when the socket has to go: a newer one takes its place, or all of them go.
    pub(super) fn called(&self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| {
            self.call.waker.register(context.waker());
            if self.call.is_made.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    pub(super) fn call(&self) {
        self.call.make();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.registry.open.lock();
        if let Some(entries) = open.get_mut(&self.user_id) {
            entries.retain(|entry| !Arc::ptr_eq(&entry.call, &self.call));
            if entries.is_empty() {
                open.remove(&self.user_id);
            }
        }
    }
}

impl Registry {
    pub(super) fn new(per_device: usize, per_user: usize) -> Self {
        Self { per_device, per_user, open: Mutex::default(), tickets: Mutex::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.open.lock().values().map(VecDeque::len).sum()
    }

    /// Calls every socket. Whoever waits here instead of each of them spares them the room for it.
    pub(super) fn call_all(&self) {
        let open = self.open.lock();
        open.values().flatten().for_each(|entry| entry.call.make());
    }

    /// Takes a place. Beyond the limits the oldest socket is told to close.
    pub(super) fn enter(self: &Arc<Self>, session: &Session) -> Place {
        let call = Arc::new(Call::default());
        let mut open = self.open.lock();
        let entries = open.entry(session.user_id.clone()).or_default();
        let of_device = |entry: &Entry| entry.device_id == session.device_id;
        if entries.iter().filter(|entry| of_device(entry)).count() >= self.per_device {
            let oldest = entries.iter().position(of_device);
            evict(entries, oldest);
        }
        if entries.len() >= self.per_user {
            evict(entries, Some(0));
        }
        let device_id = session.device_id.clone();
        entries.push_back(Entry { device_id, call: Arc::clone(&call) });
        let registry = Arc::clone(self);
        Place { registry, user_id: session.user_id.clone(), call }
    }

    /// Returns the ticket's life in milliseconds.
    pub(super) fn add_ticket(&self, ticket: String, session: Session, now_ms: u64) -> u64 {
        let mut tickets = self.tickets.lock();
        while let Some(oldest) = tickets.by_age.front() {
            let live = tickets.sessions.get(oldest).is_some_and(|(_, until)| *until > now_ms);
            if live && tickets.by_age.len() < TICKETS_MAX {
                break;
            }
            if let Some(oldest) = tickets.by_age.pop_front() {
                tickets.sessions.remove(&oldest);
            }
        }
        tickets.by_age.push_back(ticket.clone());
        tickets.sessions.insert(ticket, (session, now_ms + TICKET_LIFE_MS));
        TICKET_LIFE_MS
    }

    pub(super) fn take_ticket(&self, ticket: &str, now_ms: u64) -> Option<Session> {
        let (session, until) = self.tickets.lock().sessions.remove(ticket)?;
        (until > now_ms).then_some(session)
    }
}

fn evict(entries: &mut VecDeque<Entry>, oldest: Option<usize>) {
    if let Some(entry) = oldest.and_then(|index| entries.remove(index)) {
        entry.call.make();
    }
}
