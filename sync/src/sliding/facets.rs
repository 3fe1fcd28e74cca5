//! What lists filter by and what names a room, by state: everybody in the room gets the same.

use std::sync::Arc;

use quick_cache::sync::Cache;
use rooms::{Root, StoredEvent};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::required::MEMBER;
use crate::{SyncError, service::Inner};

const FACETS_KEPT: usize = 16_384;
/// States of which the entries that are no members are kept.
const ENTRIES_KEPT: usize = 1024;
const SPACES_KEPT: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facets {
    pub(crate) name: Option<String>,
    pub(crate) avatar: Option<String>,
    pub(crate) is_encrypted: bool,
}

pub(crate) type StateEntry = (String, String, OwnedEventId);

pub(crate) struct FacetsByState {
    facets: Cache<Root, Arc<Facets>>,
    entries: Cache<Root, Arc<Vec<StateEntry>>>,
    children: Cache<Root, Arc<Vec<OwnedRoomId>>>,
}

impl FacetsByState {
    pub(crate) fn new() -> Self {
        Self {
            facets: Cache::new(FACETS_KEPT),
            entries: Cache::new(ENTRIES_KEPT),
            children: Cache::new(SPACES_KEPT),
        }
    }

    pub(crate) async fn at(&self, sync: &Inner, root: Root) -> Result<Arc<Facets>, SyncError> {
        if let Some(known) = self.facets.get(&root) {
            return Ok(known);
        }
        let rooms = &sync.sources.rooms;
        let name = rooms.state_get(root, "m.room.name", "").await?;
        let avatar = rooms.state_get(root, "m.room.avatar", "").await?;
        let encryption = rooms.state_get(root, "m.room.encryption", "").await?;
        let facets = Arc::new(Facets {
            name: name.and_then(|event| text(&event, "name")),
            avatar: avatar.and_then(|event| text(&event, "url")),
            is_encrypted: encryption.is_some(),
        });
        self.facets.insert(root, Arc::clone(&facets));
        Ok(facets)
    }

    /// All entries but the member events, of which there may be very many.
    pub(crate) async fn entries(
        &self,
        sync: &Inner,
        root: Root,
    ) -> Result<Arc<Vec<StateEntry>>, SyncError> {
        if let Some(known) = self.entries.get(&root) {
            return Ok(known);
        }
        let mut entries = sync.sources.rooms.state_iter(root).await?;
        entries.retain(|(event_type, ..)| event_type != MEMBER);
        entries.sort();
        let entries = Arc::new(entries);
        self.entries.insert(root, Arc::clone(&entries));
        Ok(entries)
    }

    /// The rooms that a space names.
    pub(crate) async fn children(
        &self,
        sync: &Inner,
        root: Root,
    ) -> Result<Arc<Vec<OwnedRoomId>>, SyncError> {
        if let Some(known) = self.children.get(&root) {
            return Ok(known);
        }
        let mut children = Vec::new();
        for (event_type, key, event_id) in self.entries(sync, root).await?.iter() {
            let Ok(room_id) = OwnedRoomId::try_from(key.as_str()) else { continue };
            if event_type != "m.space.child" {
                continue;
            }
            let event = sync.sources.rooms.event_by_id(event_id).await?;
            // "If not present or invalid, the child room is not considered to be part of the
            // space."
            if event.is_some_and(|event| has_via(&event)) {
                children.push(room_id);
            }
        }
        let children = Arc::new(children);
        self.children.insert(root, Arc::clone(&children));
        Ok(children)
    }
}

fn has_via(event: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Content {
        via: Vec<String>,
    }
    event.pdu.content_as::<Content>().is_ok_and(|content| !content.via.is_empty())
}

/// A key of the content, if it holds text that is not empty. Nothing says that it does.
fn text(event: &StoredEvent, key: &str) -> Option<String> {
    text_of(event.pdu.content_str(), key)
}

pub(crate) fn text_of(content: &str, key: &str) -> Option<String> {
    let content: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(content).ok()?;
    let text: String = serde_json::from_str(content.get(key)?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn only_text_counts() {
        for (content, expected) in [
            (r#"{"name":"a"}"#, Some("a")),
            (r#"{"name":""}"#, None),
            (r#"{"name":7}"#, None),
            (r#"{"name":{"x":["y"]}}"#, None),
            ("{}", None),
            ("[]", None),
        ] {
            assert_eq!(text_of(content, "name").as_deref(), expected, "{content}");
        }
    }
}
