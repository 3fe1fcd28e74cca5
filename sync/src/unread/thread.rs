//! Which thread of a room an event belongs to.

use std::sync::Arc;

use rooms::{Rooms, StoredEvent};
use ruma::OwnedEventId;
use serde::Deserialize;

use crate::SyncError;

/// What is in no thread is in the main timeline, which receipts call by this name.
pub(crate) const MAIN: &str = "main";
/// "A maximum of 3 hops is recommended to cover indirect relationships."
const MAX_HOPS: usize = 3;

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: Option<Relation>,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: Option<String>,
    event_id: Option<OwnedEventId>,
}

/// The root of the event's thread, or [`MAIN`].
pub(crate) async fn of(rooms: &Rooms, event: &StoredEvent) -> Result<Arc<str>, SyncError> {
    let Some(mut relation) = relation_of(event) else { return Ok(MAIN.into()) };
    for _ in 0..MAX_HOPS {
        let Some(parent) = relation.event_id else { break };
        if relation.rel_type.as_deref() == Some("m.thread") {
            return Ok(parent.as_str().into());
        }
        let parent = rooms.event_by_id(&parent).await?;
        let parent = parent.filter(|parent| parent.pdu.room_id() == event.pdu.room_id());
        let Some(next) = parent.and_then(|parent| relation_of(&parent)) else { break };
        relation = next;
    }
    Ok(MAIN.into())
}

fn relation_of(event: &StoredEvent) -> Option<Relation> {
    event.pdu.content_as::<Content>().ok()?.relates_to
}
