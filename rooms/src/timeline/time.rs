//! Events in the order of the time that their senders gave them.

use std::sync::Arc;

use ruma::{RoomId, api::Direction};
use storage::Range;

use crate::{Error, StoredEvent, rooms::Inner, store::Times, stored_event::HISTORIC};

/// Events that are looked at for one answer.
const SCANNED: usize = 1000;
const PAGE: usize = 20;

/// A walk away from a time, page by page.
pub(super) struct TimeWalk {
    dir: Direction,
    range: Option<Range<(u64, u64)>>,
    scanned: usize,
}

impl TimeWalk {
    pub(super) fn new(ts: u64, dir: Direction) -> Self {
        let range = match dir {
            Direction::Forward => Range::from((ts, 0)),
            Direction::Backward => Range::all().up_to((ts, u64::MAX)).reversed(),
        };
        Self { dir, range: Some(range), scanned: 0 }
    }

    /// The next events, nearest first; `None` at the end of the walk.
    pub(super) async fn next(
        &mut self,
        inner: &Inner,
        room: &RoomId,
    ) -> Result<Option<Vec<Arc<StoredEvent>>>, Error> {
        let Some(range) = self.range.take() else { return Ok(None) };
        let durable = inner.store.log().position();
        let rows = inner.store.scan::<Times>(room, range.limit(PAGE)).await?;
        self.scanned += rows.len();
        if let Some(last) = rows.last().map(|row| row.sort)
            && rows.len() == PAGE
            && self.scanned < SCANNED
        {
            self.range = Some(match self.dir {
                Direction::Forward => Range::after(last),
                Direction::Backward => Range::all().before(last).reversed(),
            });
        }
        let positions = rows.iter().map(|row| row.sort.1).filter(|at| at & !HISTORIC <= durable);
        inner.events_at(room, positions.collect()).await.map(Some)
    }
}

impl Inner {
    /// The event closest to `ts` (milliseconds) in that direction, whoever may see it.
    pub(crate) async fn nearest_in_time(
        &self,
        room: &RoomId,
        ts: u64,
        dir: Direction,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let events = TimeWalk::new(ts, dir).next(self, room).await?;
        Ok(events.and_then(|events| events.into_iter().next()))
    }
}
