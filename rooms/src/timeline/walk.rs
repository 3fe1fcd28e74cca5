//! Walking through a room's history, one way, past what the viewer may not or does not want to see.

use std::sync::Arc;

use ruma::{RoomId, UserId, api::Direction};
use storage::Range;

use super::{Place, Wanted};
use crate::{
    Error, EventStatus, Rooms, StoredEvent, rooms::Inner, store::Depths, stored_event::HISTORIC,
};

/// Events that are looked at for one page. A page can end before its limit, and the next goes on.
const SCANNED: usize = 2000;
const PAGE: std::ops::RangeInclusive<usize> = 32..=256;

pub(super) struct Walk {
    dir: Direction,
    from: Place,
    /// The other end.
    to: Place,
}

pub(super) struct Walked {
    pub(super) chunk: Vec<Arc<StoredEvent>>,
    /// Where the next page begins.
    pub(super) at: Place,
    /// Whether something may be left before the other end.
    pub(super) more: bool,
}

impl Walk {
    /// To earlier events, newest first.
    pub(super) fn back(from: Place, to: Place) -> Self {
        Self { dir: Direction::Backward, from, to }
    }

    pub(super) fn on(from: Place, to: Place) -> Self {
        Self { dir: Direction::Forward, from, to }
    }

    pub(super) async fn run(
        self,
        rooms: &Rooms,
        viewer: &UserId,
        room: &RoomId,
        wanted: &Wanted<'_>,
        limit: usize,
    ) -> Result<Walked, Error> {
        let mut walked = Walked { chunk: Vec::new(), at: self.from, more: true };
        let mut scanned = 0;
        while walked.chunk.len() < limit && scanned < SCANNED {
            let missing = limit - walked.chunk.len();
            let page = (missing + 1).clamp(*PAGE.start(), *PAGE.end());
            let read = rooms.inner.topological(room, &self, walked.at, page).await?;
            scanned += read.len();
            let candidates: Vec<_> = read
                .iter()
                .filter(|event| event.status == EventStatus::Accepted && wanted.wants(event))
                .cloned()
                .collect();
            let mut visible = rooms.visible(viewer, room, &candidates).await?;
            let is_full = visible.len() >= missing;
            visible.truncate(missing);
            let last = if is_full { visible.last() } else { read.last() };
            walked.at = last.map_or(walked.at, |event| self.beyond(event));
            let at_end = read.last().is_none_or(|end| self.beyond(end) == walked.at);
            walked.chunk.append(&mut visible);
            if at_end && read.len() < page {
                walked.more = false;
                break;
            }
        }
        Ok(walked)
    }

    fn beyond(&self, event: &StoredEvent) -> Place {
        match self.dir {
            Direction::Backward => Place::before(event),
            Direction::Forward => Place::after(event),
        }
    }
}

impl Inner {
    /// The next events of the walk, the rejected ones included.
    async fn topological(
        &self,
        room: &RoomId,
        walk: &Walk,
        at: Place,
        limit: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let (low, high) = match walk.dir {
            Direction::Backward => (walk.to, at),
            Direction::Forward => (at, walk.to),
        };
        if low >= high {
            return Ok(Vec::new());
        }
        let durable = self.store.log().position();
        let range = Range::after(low.key()).up_to(high.key()).limit(limit);
        let range = if walk.dir == Direction::Backward { range.reversed() } else { range };
        let rows = self.store.scan::<Depths>(room, range).await?;
        let positions = rows.iter().map(|row| row.sort.1).filter(|at| at & !HISTORIC <= durable);
        self.events_at(room, positions.collect()).await
    }
}
