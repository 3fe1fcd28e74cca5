//! Finding the children of an event: page by page, or all of them with their own children.

use std::collections::{HashSet, VecDeque};

use ruma::{EventId, OwnedEventId, RoomId, api::Direction};
use storage::{Position, Range};

use super::RECURSION_DEPTH;
use crate::{
    Error,
    rooms::Inner,
    store::{RelationRecord, Relations},
};

/// Rows that one request looks at.
const SCANNED: usize = 2000;
const PAGE: usize = 100;

pub(super) struct Child {
    pub(super) position: Position,
    pub(super) record: RelationRecord,
}

/// Children with `low < position <= high`, in the order asked for.
pub(super) struct Children<'a> {
    inner: &'a Inner,
    room: &'a RoomId,
    /// Unset if everything has been found already.
    parent: Option<&'a EventId>,
    dir: Direction,
    low: Position,
    high: Position,
    found: Option<Vec<Child>>,
    left: usize,
}

impl<'a> Children<'a> {
    pub(super) fn of(
        inner: &'a Inner,
        room: &'a RoomId,
        parent: &'a EventId,
        dir: Direction,
        low: Position,
        high: Position,
    ) -> Self {
        Self { inner, room, parent: Some(parent), dir, low, high, found: None, left: SCANNED }
    }

    /// Children, their children and so on.
    pub(super) async fn all_below(
        inner: &'a Inner,
        room: &'a RoomId,
        parent: &'a EventId,
        dir: Direction,
        low: Position,
        high: Position,
    ) -> Result<Self, Error> {
        let mut found = descendants(inner, room, parent).await?;
        found.retain(|child| low < child.position && child.position <= high);
        found.sort_by_key(|child| child.position);
        if dir == Direction::Backward {
            found.reverse();
        }
        Ok(Self { inner, room, parent: None, dir, low, high, found: Some(found), left: SCANNED })
    }

    /// The next children; `None` if there are none left.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Child>>, Error> {
        let Some(parent) = self.parent else { return Ok(self.found.take()) };
        if self.low >= self.high || self.left == 0 {
            return Ok(None);
        }
        let range = Range::after((&parent, self.low)).up_to((&parent, self.high)).limit(PAGE);
        let range = if self.dir == Direction::Backward { range.reversed() } else { range };
        let rows = self.inner.store.scan::<Relations>(self.room, range).await?;
        self.left = self.left.saturating_sub(rows.len());
        match rows.last().filter(|_| rows.len() == PAGE) {
            Some(last) if self.dir == Direction::Backward => self.high = last.sort.1 - 1,
            Some(last) => self.low = last.sort.1,
            None => self.parent = None,
        }
        Ok(Some(rows.into_iter().map(into_child).collect()))
    }

    /// Whether there may be more children than are looked at.
    pub(super) fn is_exhausting(&self) -> bool {
        self.parent.is_some() && self.left == 0
    }
}

fn into_child(row: storage::Row<Relations>) -> Child {
    Child { position: row.sort.1, record: row.value }
}

async fn descendants(inner: &Inner, room: &RoomId, root: &EventId) -> Result<Vec<Child>, Error> {
    let mut found: Vec<Child> = Vec::new();
    let mut met: HashSet<OwnedEventId> = HashSet::from([root.to_owned()]);
    let mut open = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((parent, depth)) = open.pop_front() {
        let left = SCANNED - found.len();
        if depth == RECURSION_DEPTH || left == 0 {
            break;
        }
        let range = Range::prefix((&parent,)).reversed().limit(left);
        for row in inner.store.scan::<Relations>(room, range).await? {
            let child = into_child(row);
            if met.insert(child.record.event_id.clone()) {
                open.push_back((child.record.event_id.clone(), depth + 1));
                found.push(child);
            }
        }
    }
    Ok(found)
}
