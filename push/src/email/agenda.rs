//! Which email pusher is to be looked at when.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use super::WAITING_MAX;
use crate::Pusher;

/// What comes of a look at a pusher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing waits.
    Nothing,
    /// In milliseconds.
    At(u64),
    /// Again, after a pause.
    Failed,
}

#[derive(Default)]
pub(super) struct Agenda(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Time and pusher.
    by_time: BTreeSet<(u64, u64)>,
    of: HashMap<u64, Entry>,
}

struct Entry {
    pusher: Arc<Pusher>,
    /// In `by_time`. `None` while somebody looks.
    at: Option<u64>,
    /// When to look again, as came up while somebody looked.
    again: Option<u64>,
    /// What came since somebody looked.
    came: usize,
    failures: u32,
    failing_since: Option<u64>,
}

impl Entries {
    /// At the sooner of the two times.
    fn schedule(&mut self, id: u64, at: u64) {
        let Some(entry) = self.of.get_mut(&id) else { return };
        if let Some(before) = entry.at {
            self.by_time.remove(&(before, id));
        }
        let at = entry.at.map_or(at, |before| before.min(at));
        entry.at = Some(at);
        self.by_time.insert((at, id));
    }
}

impl Agenda {
    /// Something came that is due then. `true` if the next look, of all, comes sooner than before.
    pub(super) fn add(&self, pusher: &Arc<Pusher>, due: u64, now: u64) -> bool {
        let mut entries = self.0.lock();
        let new = || Entry {
            pusher: Arc::clone(pusher),
            at: None,
            again: None,
            came: 0,
            failures: 0,
            failing_since: None,
        };
        let is_new = !entries.of.contains_key(&pusher.id);
        let entry = entries.of.entry(pusher.id).or_insert_with(new);
        entry.came += 1;
        // A look thins out what waits.
        let due = if entry.came >= WAITING_MAX { now } else { due };
        if entry.at.is_none() && !is_new {
            entry.again = Some(entry.again.map_or(due, |again| again.min(due)));
            return false;
        }
        let before = entries.by_time.first().copied();
        entries.schedule(pusher.id, due);
        entries.by_time.first().copied() != before
    }

    /// Those whose time has come. [`note`](Self::note) says what came of each.
    pub(super) fn take_due(&self, now: u64) -> Vec<Arc<Pusher>> {
        let mut entries = self.0.lock();
        let mut due = Vec::new();
        while let Some(&(at, id)) = entries.by_time.first()
            && at <= now
        {
            entries.by_time.pop_first();
            if let Some(entry) = entries.of.get_mut(&id) {
                entry.at = None;
                entry.came = 0;
                due.push(Arc::clone(&entry.pusher));
            }
        }
        due
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.0.lock().by_time.first().map(|(at, _)| *at)
    }

    /// For how long mails of a pusher have failed, in milliseconds.
    pub(super) fn fails_for(&self, id: u64, now: u64) -> u64 {
        let entries = self.0.lock();
        let since = entries.of.get(&id).and_then(|entry| entry.failing_since);
        since.map_or(0, |since| now.saturating_sub(since))
    }

    /// `pause` is that after so many failures, in milliseconds.
    pub(super) fn note(&self, id: u64, next: Next, now: u64, pause: impl Fn(u32) -> u64) {
        let mut entries = self.0.lock();
        let Some(entry) = entries.of.get_mut(&id) else { return };
        let again = entry.again.take();
        let at = match next {
            Next::Failed => {
                entry.failures += 1;
                entry.failing_since.get_or_insert(now);
                // What came meanwhile waits with the rest.
                Some(now.saturating_add(pause(entry.failures)))
            }
            Next::Nothing | Next::At(_) => {
                (entry.failures, entry.failing_since) = (0, None);
                let at = if let Next::At(at) = next { Some(at) } else { None };
                at.into_iter().chain(again).min()
            }
        };
        match at {
            Some(at) => entries.schedule(id, at),
            None => drop(entries.of.remove(&id)),
        }
    }
}
