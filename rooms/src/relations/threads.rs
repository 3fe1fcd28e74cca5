//! The threads of a room. Replies are indexed by position, so the newest threads are found from
//! the end; a thread appears where its newest reply is.

use std::{collections::HashSet, sync::Arc};

use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde::Deserialize;
use storage::{Position, Range};

use super::summary::Summary;
use crate::{Error, Rooms, StoredEvent, room::Room, store::ThreadReplies};

/// Replies that one request looks at.
const SCANNED: usize = 5000;
const PAGE: usize = 200;
/// "a maximum of 3 hops is recommended to cover indirect relationships."
const MAX_HOPS: usize = 3;

impl Rooms {
    pub(super) async fn thread_roots(
        &self,
        viewer: &UserId,
        room: &RoomId,
        participated: bool,
        from: Position,
        limit: usize,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<Position>), Error> {
        let mut roots = Vec::new();
        let Some(loaded) = self.inner.loaded(room).await? else { return Ok((roots, None)) };
        let mut met: HashSet<OwnedEventId> = HashSet::new();
        let mut high = from.min(self.inner.store.log().position());
        let mut scanned = 0;
        while scanned < SCANNED {
            let range = Range::all().up_to(high).reversed().limit(PAGE);
            let rows = self.inner.store.scan::<ThreadReplies>(room, range).await?;
            scanned += rows.len();
            let is_last = rows.len() < PAGE;
            for row in rows {
                high = row.sort.saturating_sub(1);
                let id = row.value.root;
                if !met.insert(id.clone()) {
                    continue;
                }
                let root = self.thread_root(viewer, &loaded, &id, from, participated).await?;
                roots.extend(root);
                if roots.len() == limit {
                    return Ok((roots, Some(high)));
                }
            }
            if is_last {
                return Ok((roots, None));
            }
        }
        Ok((roots, Some(high)))
    }

    /// The root, unless it is hidden, was on an earlier page, or has no part of the viewer's.
    async fn thread_root(
        &self,
        viewer: &UserId,
        room: &Room,
        id: &EventId,
        from: Position,
        participated: bool,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let root = self.event_by_id(id).await?.filter(|root| root.pdu.room_id() == room.id());
        let root = self.visible(viewer, room.id(), root.as_slice()).await?.into_iter().next();
        let Some(root) = root else { return Ok(None) };
        let summary = self.children(room, &root).await?;
        if self.newest_reply(&summary).await? > from {
            return Ok(None);
        }
        let takes_part = root.pdu.sender() == viewer || summary.participants.contains(viewer);
        Ok((takes_part || !participated).then_some(root))
    }

    async fn newest_reply(&self, summary: &Summary) -> Result<Position, Error> {
        let Some(id) = &summary.latest_reply else { return Ok(0) };
        Ok(self.event_by_id(id).await?.map_or(0, |reply| reply.position))
    }

    /// The root of the thread that the event is in; `None` for the main timeline.
    pub(crate) async fn thread_of(
        &self,
        event: &StoredEvent,
    ) -> Result<Option<OwnedEventId>, Error> {
        let Some((mut rel_type, mut parent)) = relation_of(event) else { return Ok(None) };
        for _ in 0..MAX_HOPS {
            if rel_type == "m.thread" {
                return Ok(Some(parent));
            }
            let next = self.event_by_id(&parent).await?;
            let next = next.filter(|next| next.pdu.room_id() == event.pdu.room_id());
            let Some(next) = next.and_then(|next| relation_of(&next)) else { break };
            (rel_type, parent) = next;
        }
        Ok(None)
    }
}

/// The kind of the event's relation, and its parent.
pub(crate) fn relation_of(event: &StoredEvent) -> Option<(String, OwnedEventId)> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: RelatesTo,
    }
    #[derive(Deserialize)]
    struct RelatesTo {
        rel_type: String,
        event_id: OwnedEventId,
    }
    if !event.pdu.content_str().contains("m.relates_to") {
        return None;
    }
    let RelatesTo { rel_type, event_id } = event.pdu.content_as::<Content>().ok()?.relates_to;
    Some((rel_type, event_id))
}
