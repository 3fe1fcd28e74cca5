//! How much waits for one destination at most, and for how long: `docs/decisions/0011`.

use std::time::Duration;

use super::{
    Sender,
    outbox::Item,
    queue::{Destination, State},
    transaction::Rows,
};

/// Events of each room that stay when there are too many: the other server asks for what is between
/// them and what it has, as it does after any gap.
const KEPT_PER_ROOM: usize = 10;
/// Of a server that has not answered for so long, the newest event of each room stays, so that it is
/// found should it ever come back.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much waits for a destination, as far as this process has seen it come.
#[derive(Default)]
pub(super) struct Waiting {
    events: Kind,
    to_device: Kind,
}

#[derive(Default)]
struct Kind {
    count: usize,
    /// What was left of it the last time.
    left: usize,
}

impl Kind {
    /// What could not be made less is let grow to twice as much before that is tried again.
    fn is_crowded(&self, most: usize) -> bool {
        self.count > most.max(2 * self.left)
    }
}

impl Waiting {
    pub(super) fn settled(&mut self, rows: &Rows) {
        self.events.count = self.events.count.saturating_sub(rows.events.len());
        self.to_device.count = self.to_device.count.saturating_sub(rows.to_device.len());
    }
}

impl Sender {
    /// Something was put into the outbox of a destination.
    pub(super) fn waits(&self, destination: &Destination, item: &Item) {
        let mut state = destination.state.lock();
        let kind = match item {
            Item::Event(..) => &mut state.waiting.events,
            Item::ToDevice(_) => &mut state.waiting.to_device,
        };
        kind.count += 1;
        if kind.is_crowded(self.inner.config.waiting_max) {
            destination.crowded.notify_one();
        }
    }

    /// Makes less of what waits if it is too much. What is under way stays as it is.
    pub(super) async fn thin(&self, destination: &Destination) {
        let most = self.inner.config.waiting_max;
        let (events, to_device, is_given_up) = {
            let state = destination.state.lock();
            let is_given_up = self.is_given_up(&state);
            let events = state.waiting.events.is_crowded(most) || is_given_up;
            let to_device = state.waiting.to_device.is_crowded(most) || is_given_up;
            (events.then_some(state.sent), to_device.then_some(state.sent_to_device), is_given_up)
        };
        let (outbox, server) = (&self.inner.outbox, &destination.server);
        if let Some(after) = events {
            let keep = if is_given_up { 1 } else { KEPT_PER_ROOM };
            destination.state.lock().waiting.events.count = 0;
            match outbox.thin_events(server, after, keep).await {
                Ok(left) => {
                    tracing::warn!(%server, left, "only the newest events of each room are kept");
                    let events = &mut destination.state.lock().waiting.events;
                    *events = Kind { count: events.count + left, left };
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be thinned"),
            }
        }
        if let Some(after) = to_device {
            let keep = if is_given_up { 0 } else { most / 2 };
            destination.state.lock().waiting.to_device.count = 0;
            match outbox.thin_to_device(server, after, keep).await {
                Ok(left) => {
                    tracing::warn!(%server, left, "only the newest messages to devices are kept");
                    let to_device = &mut destination.state.lock().waiting.to_device;
                    *to_device = Kind { count: to_device.count + left, left };
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be thinned"),
            }
        }
    }

    fn is_given_up(&self, state: &State) -> bool {
        let since = state.stored_failures.filter(|failures| failures.count > 0);
        since.is_some_and(|failures| {
            let silence = self.inner.clock.now_ms().saturating_sub(failures.since);
            Duration::from_millis(silence) > GIVEN_UP_AFTER
        })
    }
}
