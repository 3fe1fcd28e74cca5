//! History for a server that is behind: `GET /backfill`, `POST /get_missing_events`.

use std::{
    collections::{BinaryHeap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use ruma::{OwnedEventId, RoomId, ServerName};

use super::{access::is_valid, sight::ServerSight};
use crate::{Error, EventStatus, Rooms, StoredEvent};

/// Events of one answer.
const BACKFILL_MAX: usize = 100;
const MISSING_MAX: usize = 20;
/// Events looked at for one answer.
const VISITED_MAX: usize = 5000;

/// PDUs, the newest first.
pub type Backfilled = Vec<Bytes>;

/// Of `POST /get_missing_events`.
#[derive(Clone, Debug)]
pub struct MissingQuery {
    pub earliest: Vec<OwnedEventId>,
    pub latest: Vec<OwnedEventId>,
    pub limit: usize,
    pub min_depth: u64,
}

/// In the heap the deepest comes first.
struct ByDepth(Arc<StoredEvent>);

impl ByDepth {
    fn key(&self) -> (u64, u64) {
        (self.0.pdu.depth(), self.0.position)
    }
}

impl PartialEq for ByDepth {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for ByDepth {}
impl PartialOrd for ByDepth {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByDepth {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Rooms {
    /// The events named and what came before them, as far as this server has it.
    pub async fn peer_backfill(
        &self,
        server: &ServerName,
        room: &RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Result<Backfilled, Error> {
        self.inner.shared_room(server, room).await?;
        let limit = limit.min(BACKFILL_MAX);
        let events = self.ancestors(room, from, &HashSet::new(), 0, limit).await?;
        self.shown_to(server, room, events).await
    }

    /// The events between `earliest` and `latest`, both left out; the oldest first.
    pub async fn peer_missing_events(
        &self,
        server: &ServerName,
        room: &RoomId,
        query: MissingQuery,
    ) -> Result<Vec<Bytes>, Error> {
        self.inner.shared_room(server, room).await?;
        let limit = query.limit.min(MISSING_MAX);
        let mut known: HashSet<OwnedEventId> = query.earliest.into_iter().collect();
        let mut from = Vec::new();
        for id in query.latest {
            if let Ok(event) = self.inner.valid_event_in(room, &id).await {
                from.extend(event.pdu.prev_events().iter().cloned());
            }
            known.insert(id);
        }
        let mut events = self.ancestors(room, from, &known, query.min_depth, limit).await?;
        events.sort_by_key(|event| (event.pdu.depth(), event.position));
        self.shown_to(server, room, events).await
    }

    /// Breadth first, the deepest first; `known` and what is less deep than `min_depth` end the
    /// walk.
    async fn ancestors(
        &self,
        room: &RoomId,
        from: Vec<OwnedEventId>,
        known: &HashSet<OwnedEventId>,
        min_depth: u64,
        limit: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut seen = known.clone();
        let mut open = BinaryHeap::new();
        let mut found = Vec::new();
        let mut next = from;
        while found.len() < limit {
            for id in next {
                if seen.len() >= VISITED_MAX + known.len() || !seen.insert(id.clone()) {
                    continue;
                }
                let event = self.inner.events.get(&id).await?;
                let event = event.filter(|event| {
                    event.pdu.room_id() == room && event.status != EventStatus::Outlier
                });
                open.extend(event.map(ByDepth));
            }
            let Some(ByDepth(event)) = open.pop() else { break };
            next = event.pdu.prev_events().to_vec();
            // What was rejected still leads to what came before it.
            if event.pdu.depth() >= min_depth && is_valid(event.status) {
                found.push(event);
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// What the server may not see is redacted: it has to know that there is something.
    async fn shown_to(
        &self,
        server: &ServerName,
        room: &RoomId,
        events: Vec<Arc<StoredEvent>>,
    ) -> Result<Vec<Bytes>, Error> {
        let mut sight = ServerSight::new(&self.inner, server, room);
        let mut jsons = Vec::with_capacity(events.len());
        for event in &events {
            jsons.push(sight.json(event).await?);
        }
        Ok(jsons)
    }
}
