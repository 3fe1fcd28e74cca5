//! History from before this server came, or from while it was away: fetched when somebody reads
//! that far. Here: what is missing, and who is asked. `history.rs` gives the events their places.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

use events::Pdu;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedServerName, RoomId, UserId};
use storage::{Batch, Range};
use tokio::time::{Instant, timeout_at};

use crate::{Error, EventStatus, RoomView, StoredEvent, rooms::Inner, store::Gaps};

/// Events asked for at once.
const PAGE: usize = 100;
/// Gaps that are filled for one page of a reader.
const GAPS: usize = 4;
/// Servers asked for one gap.
const SERVERS: usize = 5;
/// What nobody could give is not asked for again for so long.
const RETRY_AFTER_MS: u64 = 60_000;
/// Gaps of which it is remembered that they could not be filled.
const FAILED_MAX: usize = 1024;

/// An event, by depth and id, that comes after events which are not known.
pub(super) type Gap = (u64, OwnedEventId);

/// Gaps that could not be filled, and when.
#[derive(Default)]
pub(crate) struct FailedGaps(Mutex<HashMap<OwnedEventId, u64>>);

impl FailedGaps {
    fn contains(&self, event: &OwnedEventId, now_ms: u64) -> bool {
        let failed = self.0.lock();
        failed.get(event).is_some_and(|at| now_ms < at.saturating_add(RETRY_AFTER_MS))
    }

    fn insert(&self, event: OwnedEventId, now_ms: u64) {
        let mut failed = self.0.lock();
        if failed.len() >= FAILED_MAX {
            failed.retain(|_, at| now_ms < at.saturating_add(RETRY_AFTER_MS));
        }
        if failed.len() >= FAILED_MAX {
            failed.clear();
        }
        failed.insert(event, now_ms);
    }
}

/// One that is cut short has failed.
struct Attempt<'a> {
    inner: &'a Inner,
    gap: &'a Gap,
    succeeded: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            self.inner.failed_gaps.insert(self.gap.1.clone(), self.inner.clock.now_ms());
        }
    }
}

/// What became of the gaps in a part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are none that could be filled now.
    Nothing,
    /// The history is another than before.
    Some,
    /// There was no time left.
    OutOfTime,
}

impl Inner {
    /// Fetches what is missing right before events of these depths, as far as `deadline` allows.
    pub(crate) async fn fill_history(
        &self,
        room: &RoomId,
        depths: RangeInclusive<u64>,
        deadline: Instant,
    ) -> Result<Filled, Error> {
        if depths.is_empty()
            || self.fillable(room, &depths).await?.is_empty()
            || !self.is_resident(room).await?
        {
            return Ok(Filled::Nothing);
        }
        let fill = async {
            // One who waited finds the gaps of the other filled.
            let _flight = self.history_flights.enter(room).await;
            let Some(view) = self.view(room).await? else { return Ok(Filled::Nothing) };
            let gaps = self.fillable(room, &depths).await?;
            let mut filled = if gaps.is_empty() { Filled::Some } else { Filled::Nothing };
            for gap in gaps {
                let mut attempt = Attempt { inner: self, gap: &gap, succeeded: false };
                attempt.succeeded = self.fill_gap_before(&view, &gap).await?;
                if attempt.succeeded {
                    filled = Filled::Some;
                }
            }
            Ok(filled)
        };
        timeout_at(deadline, fill).await.unwrap_or(Ok(Filled::OutOfTime))
    }

    /// Gaps that are worth a try, the newest first.
    async fn fillable(
        &self,
        room: &RoomId,
        depths: &RangeInclusive<u64>,
    ) -> Result<Vec<Gap>, Error> {
        let now = self.clock.now_ms();
        let mut found = Vec::new();
        let mut high = (*depths.end(), "\u{10ffff}".to_owned());
        loop {
            let range = Range::from((*depths.start(), "")).up_to((high.0, high.1.as_str()));
            let rows = self.store.scan::<Gaps>(room, range.reversed().limit(PAGE)).await?;
            for row in &rows {
                if row.sort == high {
                    continue;
                }
                let Ok(id) = OwnedEventId::try_from(row.sort.1.as_str()) else { continue };
                if !self.failed_gaps.contains(&id, now) {
                    found.push((row.sort.0, id));
                }
                if found.len() == GAPS {
                    return Ok(found);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE && last.sort != high => high = last.sort.clone(),
                _ => return Ok(found),
            }
        }
    }

    async fn fill_gap_before(&self, view: &RoomView, gap: &Gap) -> Result<bool, Error> {
        let room = &view.room_id;
        let Some(event) = self.events.get(&gap.1).await? else { return Ok(false) };
        if !matches!(event.status, EventStatus::Accepted | EventStatus::Rejected) {
            return Ok(false);
        }
        if !self.has_gap(&event.pdu).await? {
            let mut batch = Batch::new();
            batch.delete::<Gaps>(room, (gap.0, &gap.1));
            self.store.commit(batch).await?;
            return Ok(true);
        }
        for server in self.likely_servers(view, event.pdu.sender()) {
            if self.fill_gap_from(&server, view, &event).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn fill_gap_from(
        &self,
        server: &OwnedServerName,
        view: &RoomView,
        event: &StoredEvent,
    ) -> Result<bool, Error> {
        let room = &view.room_id;
        let from = vec![event.event_id().clone()];
        let mut found = match self.ports.remote.backfill(server, room, from, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, %room, "no history from this server");
                return Ok(false);
            }
        };
        // The event itself may be among them.
        found.truncate(PAGE + 1);
        let checked = self.verified_of(server, view.version, room, found).await;
        let older = |pdu: &Arc<Pdu>| pdu.depth() < event.pdu.depth() || is_deepest(&event.pdu);
        let pdus: Vec<_> = checked.into_iter().flatten().filter(older).collect();
        self.place_history(server, view, Some(&event.pdu), pdus).await
    }

    /// Those that are asked for history, the server of `sender` first if it is in the room.
    pub(super) fn likely_servers(&self, view: &RoomView, sender: &UserId) -> Vec<OwnedServerName> {
        let first = sender.server_name();
        let others = view.servers.keys().filter(|server| *server != first);
        let present = view.servers.contains_key(first).then(|| first.to_owned());
        present
            .into_iter()
            .chain(others.cloned())
            .filter(|server| *server != self.server_name)
            .take(SERVERS)
            .collect()
    }
}

/// Nothing can be deeper, so what comes after it is not.
fn is_deepest(pdu: &Pdu) -> bool {
    pdu.depth() >= crate::draft::MAX_DEPTH
}
