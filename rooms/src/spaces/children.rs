//! The children of one space, in the order in which clients show them.

use bytes::Bytes;
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;

use crate::{Error, Rooms, Root, StoredEvent};

/// Children of one space that are looked at.
const MAX_CHILDREN: usize = 5000;

pub(crate) struct Child {
    pub(crate) room_id: OwnedRoomId,
    /// The stripped event with `origin_server_ts`, a JSON object.
    pub(crate) stripped: Bytes,
    order: Option<String>,
    ts: u64,
}

impl Child {
    /// `None` if the event makes no child: "Child rooms can be removed from a space by omitting the
    /// `via` key of `content`".
    fn of(event: &StoredEvent, suggested_only: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            via: Vec<String>,
            #[serde(default)]
            order: Option<serde_json::Value>,
            #[serde(default)]
            suggested: Option<serde_json::Value>,
        }
        let content = event.pdu.content_as::<Content>().ok()?;
        let is_suggested = content.suggested.is_some_and(|value| value == true);
        if content.via.is_empty() || (suggested_only && !is_suggested) {
            return None;
        }
        let order = content.order.and_then(|value| value.as_str().map(str::to_owned));
        Some(Self {
            room_id: RoomId::parse(event.pdu.state_key()?).ok()?,
            stripped: stripped(event),
            order: order.filter(|order| is_valid_order(order)),
            ts: event.pdu.origin_server_ts(),
        })
    }

    /// "first order the children with a valid `order` key", "take the remaining children and order
    /// them by the `origin_server_ts`", and last by room id.
    fn rank(&self) -> (bool, Option<&str>, u64, &str) {
        (self.order.is_none(), self.order.as_deref(), self.ts, self.room_id.as_str())
    }
}

/// Other values "are to be treated as though the `order` key was not provided".
fn is_valid_order(order: &str) -> bool {
    order.len() <= 50 && order.bytes().all(|byte| (0x20..=0x7E).contains(&byte))
}

fn stripped(event: &StoredEvent) -> Bytes {
    let mut json = events::stripped(&event.pdu);
    json.pop();
    let ts = event.pdu.origin_server_ts();
    json.extend_from_slice(format!(r#","origin_server_ts":{ts}}}"#).as_bytes());
    json.into()
}

impl Rooms {
    pub(crate) async fn space_children(
        &self,
        root: Root,
        suggested_only: bool,
    ) -> Result<Vec<Child>, Error> {
        let mut entries = self.inner.trie.entries(root).await?;
        entries.retain(|entry| entry.event_type == "m.space.child");
        entries.truncate(MAX_CHILDREN);
        let events = self.inner.events_of(entries).await?;
        let mut children: Vec<_> =
            events.iter().filter_map(|event| Child::of(event, suggested_only)).collect();
        children.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(children)
    }
}
