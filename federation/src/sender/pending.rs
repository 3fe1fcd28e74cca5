//! What need not arrive: the newest of each notice, for as long as the process lives.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value, json};

use super::edu;

/// Notices of one kind that wait for one destination; more are dropped, since the newest will do.
const WAITING_MAX: usize = 10_000;
/// Typists of one transaction, each in an EDU.
const TYPISTS_MAX: usize = 20;
/// Receipts of one transaction, and the EDUs that they fit in.
const RECEIPTS_MAX: usize = 500;
const RECEIPT_EDUS_MAX: usize = 20;

type ReceiptKey = (OwnedRoomId, OwnedUserId, String);

#[derive(Default)]
pub(super) struct Pending {
    receipts: BTreeMap<ReceiptKey, (OwnedEventId, u64)>,
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    presence: BTreeSet<OwnedUserId>,
}

impl Pending {
    pub(super) fn add_receipt(&mut self, key: ReceiptKey, event_id: OwnedEventId, ts: u64) {
        if self.receipts.len() < WAITING_MAX || self.receipts.contains_key(&key) {
            self.receipts.insert(key, (event_id, ts));
        }
    }

    pub(super) fn add_typing(&mut self, room: OwnedRoomId, user: OwnedUserId, types: bool) {
        let key = (room, user);
        if self.typing.len() < WAITING_MAX || self.typing.contains_key(&key) {
            self.typing.insert(key, types);
        }
    }

    pub(super) fn add_presence(&mut self, user: OwnedUserId) {
        if self.presence.len() < WAITING_MAX {
            self.presence.insert(user);
        }
    }

    /// Whether there is something that is not put off.
    pub(super) fn is_urgent(&self) -> bool {
        !self.receipts.is_empty() || !self.typing.is_empty()
    }

    pub(super) fn has_presence(&self) -> bool {
        !self.presence.is_empty()
    }

    /// Who is out of reach for long need not hear of who typed when.
    pub(super) fn forget_moments(&mut self) {
        self.typing.clear();
    }

    pub(super) fn take_notices(&mut self) -> Vec<Bytes> {
        let mut edus = Vec::new();
        for _ in 0..TYPISTS_MAX.min(self.typing.len()) {
            let Some(((room, user), typing)) = self.typing.pop_first() else { break };
            let content = json!({ "room_id": room, "user_id": user, "typing": typing });
            edus.push(edu("m.typing", &content));
        }
        edus.extend(self.take_receipts());
        edus
    }

    /// One receipt of a user in a room per EDU: those of threads go into further ones.
    fn take_receipts(&mut self) -> Vec<Bytes> {
        let mut edus: Vec<Map<String, Value>> = Vec::new();
        for _ in 0..RECEIPTS_MAX {
            let Some((key, (event_id, ts))) = self.receipts.pop_first() else { break };
            let (room, user, thread) = &key;
            let is_free = |edu: &Map<String, Value>| {
                edu.get(room.as_str()).is_none_or(|kinds| kinds["m.read"][user.as_str()].is_null())
            };
            let at = edus.iter().position(is_free);
            if at.is_none() && edus.len() == RECEIPT_EDUS_MAX {
                self.receipts.insert(key, (event_id, ts));
                break;
            }
            let at = at.unwrap_or_else(|| {
                edus.push(Map::new());
                edus.len() - 1
            });
            let mut data = json!({ "ts": ts });
            if !thread.is_empty() {
                data["thread_id"] = thread.as_str().into();
            }
            let kinds = edus[at].entry(room.as_str()).or_insert_with(|| json!({ "m.read": {} }));
            kinds["m.read"][user.as_str()] = json!({ "event_ids": [event_id], "data": data });
        }
        edus.into_iter().map(|content| edu("m.receipt", &Value::Object(content))).collect()
    }

    pub(super) fn take_presence(&mut self, limit: usize) -> Vec<OwnedUserId> {
        let mut users = Vec::new();
        while users.len() < limit
            && let Some(user) = self.presence.pop_first()
        {
            users.push(user);
        }
        users
    }
}
