//! The children of one space, in the order in which clients show them.

use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;

use crate::{Error, Rooms, Root, StoredEvent};

/// Children of one space that are looked at.
const MAX_CHILDREN: usize = 5000;

pub(crate) struct Child {
    pub(crate) room_id: OwnedRoomId,
    /// The stripped event with `origin_server_ts`, a JSON object.
    pub(crate) stripped: Bytes,
    /// Servers that are in the room.
    pub(crate) via: Vec<OwnedServerName>,
    order: Option<String>,
    ts: u64,
}

#[derive(Deserialize)]
struct Content {
    via: Vec<String>,
    #[serde(default)]
    order: Option<serde_json::Value>,
    #[serde(default)]
    suggested: Option<serde_json::Value>,
}

impl Child {
    /// `None` if the event makes no child: "Child rooms can be removed from a space by omitting the
    /// `via` key of `content`".
    fn of(event: &StoredEvent, suggested_only: bool) -> Option<Self> {
        let content = event.pdu.content_as::<Content>().ok()?;
        let is_suggested = content.suggested.as_ref().is_some_and(|value| *value == true);
        if suggested_only && !is_suggested {
            return None;
        }
        let ts = event.pdu.origin_server_ts();
        Self::new(event.pdu.state_key()?, content, stripped(event), ts)
    }

    /// One of another server's `children_state`.
    pub(crate) fn of_stripped(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Stripped {
            #[serde(rename = "type")]
            event_type: String,
            state_key: String,
            content: Content,
            origin_server_ts: u64,
        }
        let event: Stripped = serde_json::from_str(json).ok()?;
        let Stripped { event_type, state_key, content, origin_server_ts } = event;
        let stripped = Bytes::copy_from_slice(json.as_bytes());
        let is_child = event_type == "m.space.child";
        Self::new(&state_key, content, stripped, origin_server_ts).filter(|_| is_child)
    }

    fn new(state_key: &str, content: Content, stripped: Bytes, ts: u64) -> Option<Self> {
        if content.via.is_empty() {
            return None;
        }
        let order = content.order.and_then(|value| value.as_str().map(str::to_owned));
        Some(Self {
            room_id: RoomId::parse(state_key).ok()?,
            stripped,
            via: content.via.iter().filter_map(|name| ServerName::parse(name).ok()).collect(),
            order: order.filter(|order| is_valid_order(order)),
            ts,
        })
    }

    /// "first order the children with a valid `order` key", "take the remaining children and order
    /// them by the `origin_server_ts`", and last by room id.
    pub(crate) fn rank(&self) -> (bool, Option<&str>, u64, &str) {
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
