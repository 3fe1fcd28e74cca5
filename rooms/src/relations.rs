//! Events that relate to others, and their summary bundled with the event they relate to.

mod bundle;
mod collect;
mod rules;
mod summary;
mod threads;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, RoomId, UserId, api::Direction};
use storage::Position;

use self::collect::{Child, Children};
pub(crate) use self::{summary::Summaries, threads::relation_of};
use crate::{Error, EventStatus, Rooms, StoredEvent, timeline::Place};

/// "a maximum of 3 hops is recommended", which is what a client is told about `recurse` too.
const RECURSION_DEPTH: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub struct RelationsQuery<'a> {
    pub rel_type: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub dir: Direction,
    pub limit: usize,
    pub recurse: bool,
}

#[derive(Clone, Debug)]
pub struct RelationsPage {
    pub chunk: Vec<Arc<StoredEvent>>,
    pub next_batch: Option<String>,
    pub prev_batch: Option<String>,
    pub recursion_depth: Option<u32>,
}

impl Rooms {
    /// The events that relate to an event that the viewer may see.
    pub async fn relations(
        &self,
        viewer: &UserId,
        room: &RoomId,
        event_id: &EventId,
        query: RelationsQuery<'_>,
    ) -> Result<RelationsPage, Error> {
        self.event(viewer, room, event_id).await?;
        let (low, high) = self.bounds(room, &query).await?;
        let limit = query.limit.max(1);
        let mut children = if query.recurse {
            Children::all_below(&self.inner, room, event_id, query.dir, low, high).await?
        } else {
            Children::of(&self.inner, room, event_id, query.dir, low, high)
        };
        let mut chunk: Vec<Arc<StoredEvent>> = Vec::new();
        let mut next = None;
        while next.is_none() {
            let Some(page) = children.next().await? else { break };
            let last = page.last().map(|child| child.position);
            for event in self.visible_children(viewer, room, &page, &query).await? {
                if chunk.len() < limit {
                    chunk.push(event);
                    continue;
                }
                next = chunk.last().map(|event| beyond(query.dir, event.position));
                break;
            }
            if next.is_none() && children.is_exhausting() {
                next = last.map(|position| beyond(query.dir, position));
            }
        }
        let token = |position| Place { depth: 0, position }.to_string();
        Ok(RelationsPage {
            chunk,
            next_batch: next.map(token),
            prev_batch: query.from.map(str::to_owned),
            recursion_depth: query.recurse.then_some(RECURSION_DEPTH),
        })
    }

    /// Roots of threads, the one with the newest reply first, and the token of the next page.
    pub async fn threads(
        &self,
        viewer: &UserId,
        room: &RoomId,
        participated: bool,
        from: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<String>), Error> {
        self.visible_state(viewer, room).await?;
        let from = match from {
            Some(token) => self.inner.place(room, token).await?.position,
            None => Position::MAX,
        };
        let (roots, next) =
            self.thread_roots(viewer, room, participated, from, limit.max(1)).await?;
        Ok((roots, next.map(|position| Place { depth: 0, position }.to_string())))
    }

    /// The position of an event that the viewer may see, if it is the root of the thread or in it.
    pub async fn place_in_thread(
        &self,
        viewer: &UserId,
        room: &RoomId,
        root: &EventId,
        event_id: &EventId,
    ) -> Result<Option<Position>, Error> {
        let event = match self.event(viewer, room, event_id).await {
            Err(Error::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let is_in = event_id == root || self.thread_of(&event).await?.as_deref() == Some(root);
        Ok(is_in.then_some(event.position))
    }

    /// `m.relations` (a JSON object) of those of the events that have relations.
    pub async fn aggregations(
        &self,
        viewer: &UserId,
        room: &RoomId,
        events: &[Arc<StoredEvent>],
    ) -> Result<HashMap<OwnedEventId, Bytes>, Error> {
        let mut bundles = HashMap::new();
        let Some(loaded) = self.inner.loaded(room).await? else { return Ok(bundles) };
        for event in events {
            if let Some(bundle) = self.bundle(viewer, &loaded, event).await? {
                bundles.insert(event.event_id().clone(), bundle);
            }
        }
        Ok(bundles)
    }

    /// The positions after and up to which relations are asked for.
    async fn bounds(
        &self,
        room: &RoomId,
        query: &RelationsQuery<'_>,
    ) -> Result<(Position, Position), Error> {
        let (lower, upper) = match query.dir {
            Direction::Forward => (query.from, query.to),
            Direction::Backward => (query.to, query.from),
        };
        let low = match lower {
            Some(token) => self.inner.place(room, token).await?.position,
            None => 0,
        };
        let high = match upper {
            Some(token) => self.inner.place(room, token).await?.position,
            None => Position::MAX,
        };
        Ok((low, high.min(self.inner.store.log().position())))
    }

    async fn visible_children(
        &self,
        viewer: &UserId,
        room: &RoomId,
        children: &[Child],
        query: &RelationsQuery<'_>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut events = Vec::new();
        for child in children {
            let record = &child.record;
            if query.rel_type.is_some_and(|wanted| wanted != record.rel_type)
                || query.event_type.is_some_and(|wanted| wanted != record.event_type)
            {
                continue;
            }
            let event = self.event_by_id(&record.event_id).await?;
            events.extend(event.filter(|event| event.status == EventStatus::Accepted));
        }
        self.visible(viewer, room, &events).await
    }
}

fn beyond(dir: Direction, position: Position) -> Position {
    match dir {
        Direction::Backward => position.saturating_sub(1),
        Direction::Forward => position,
    }
}
