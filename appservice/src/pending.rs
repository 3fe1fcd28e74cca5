//! What need not arrive: the newest typing, receipts and presence that an application service was
//! not told yet. In memory only.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{Map, Value, json};

/// Entries of each kind; what comes when it is full is not told.
const ENTRIES_MAX: usize = 10_000;
/// Of each kind in one transaction.
const TAKEN_MAX: usize = 100;

/// Room, user, thread (empty for none), and whether it is private.
pub(crate) type ReceiptKey = (OwnedRoomId, OwnedUserId, String, bool);

#[derive(Default)]
pub(crate) struct Pending {
    /// Rooms; who types there is looked up when it is told.
    typing: BTreeSet<OwnedRoomId>,
    /// With the time in milliseconds.
    receipts: BTreeMap<ReceiptKey, (OwnedEventId, u64)>,
    /// Users; their state is looked up when it is told.
    presence: BTreeSet<OwnedUserId>,
}

/// What goes into one transaction.
pub(crate) struct Taken {
    pub(crate) typing: Vec<OwnedRoomId>,
    pub(crate) receipts: Vec<(ReceiptKey, (OwnedEventId, u64))>,
    pub(crate) presence: Vec<OwnedUserId>,
}

impl Pending {
    pub(crate) fn add_typing(&mut self, room: &RoomId) {
        if self.typing.len() < ENTRIES_MAX {
            self.typing.insert(room.to_owned());
        }
    }

    pub(crate) fn add_receipt(&mut self, key: ReceiptKey, event: OwnedEventId, ts: u64) {
        if self.receipts.len() < ENTRIES_MAX || self.receipts.contains_key(&key) {
            self.receipts.insert(key, (event, ts));
        }
    }

    pub(crate) fn add_presence(&mut self, user: OwnedUserId) {
        if self.presence.len() < ENTRIES_MAX {
            self.presence.insert(user);
        }
    }

    pub(crate) fn take(&mut self) -> Taken {
        let some = |length: usize| length.min(TAKEN_MAX);
        Taken {
            typing: (0..some(self.typing.len())).filter_map(|_| self.typing.pop_first()).collect(),
            receipts: (0..some(self.receipts.len()))
                .filter_map(|_| self.receipts.pop_first())
                .collect(),
            presence: (0..some(self.presence.len()))
                .filter_map(|_| self.presence.pop_first())
                .collect(),
        }
    }
}

/// `m.receipt` events. A user who has receipts of two threads at one event has one in each of two.
pub(crate) fn receipt_events(receipts: Vec<(ReceiptKey, (OwnedEventId, u64))>) -> Vec<Value> {
    let mut events: Vec<(OwnedRoomId, Map<String, Value>)> = Vec::new();
    for ((room, user, thread, private), (event_id, ts)) in receipts {
        let kind = if private { "m.read.private" } else { "m.read" };
        let is_free = |(of, content): &&mut (OwnedRoomId, Map<String, Value>)| {
            let users = content.get(event_id.as_str()).and_then(|kinds| kinds.get(kind));
            *of == room && users.and_then(|users| users.get(user.as_str())).is_none()
        };
        let mut data = json!({ "ts": ts });
        if !thread.is_empty() {
            data["thread_id"] = json!(thread);
        }
        let content = match events.iter_mut().find(is_free) {
            Some((_, content)) => content,
            None => {
                events.push((room, Map::new()));
                let Some((_, content)) = events.last_mut() else { continue };
                content
            }
        };
        let kinds = content.entry(event_id.as_str()).or_insert_with(|| json!({}));
        kinds[kind][user.as_str()] = data;
    }
    let event =
        |(room, content)| json!({ "type": "m.receipt", "room_id": room, "content": content });
    events.into_iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, room_id, user_id};
    use serde_json::json;

    use super::receipt_events;

    #[test]
    fn receipts_of_two_threads_at_one_event_are_both_told() {
        let (room, ada) = (room_id!("!a:x.test"), user_id!("@ada:x.test"));
        let receipt = |thread: &str, private, ts| {
            let key = (room.to_owned(), ada.to_owned(), thread.to_owned(), private);
            (key, (event_id!("$e").to_owned(), ts))
        };
        let events = receipt_events(vec![
            receipt("", false, 1),
            receipt("", true, 2),
            receipt("main", false, 3),
        ]);
        let event = |content| json!({ "type": "m.receipt", "room_id": room, "content": content });
        let first = json!({ "$e": {
            "m.read": { ada.as_str(): { "ts": 1 } },
            "m.read.private": { ada.as_str(): { "ts": 2 } },
        }});
        let second =
            json!({ "$e": { "m.read": { ada.as_str(): { "ts": 3, "thread_id": "main" } } } });
        assert_eq!(events, [event(first), event(second)]);
    }
}
