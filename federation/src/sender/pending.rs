//! What need not arrive: the newest of each notice, for as long as the process lives.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value, json};

use super::edu;

/// Notices of one kind that wait for one destination; more are dropped, since the newest will do.
const WAITING_MAX: usize = 10_000;
/// Receipts and typists of one transaction.
const PER_TRANSACTION: usize = 40;

type ReceiptKey = (OwnedRoomId, OwnedUserId, String);

#[derive(Default)]
pub(super) struct Pending {
    receipts: BTreeMap<ReceiptKey, (OwnedEventId, u64)>,
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    presence: BTreeSet<OwnedUserId>,
}

impl Pending {
    pub(super) fn add_receipt(&mut self, key: ReceiptKey, event_id: OwnedEventId, ts: u64) {
        if self.receipts.len() < WAITING_MAX {
            self.receipts.insert(key, (event_id, ts));
        }
    }

    pub(super) fn add_typing(&mut self, room: OwnedRoomId, user: OwnedUserId, types: bool) {
        if self.typing.len() < WAITING_MAX {
            self.typing.insert((room, user), types);
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
        self.presence.clear();
    }

    pub(super) fn take_notices(&mut self) -> Vec<Bytes> {
        let mut edus = Vec::new();
        for _ in 0..PER_TRANSACTION.min(self.typing.len()) {
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
        for _ in 0..PER_TRANSACTION.min(self.receipts.len()) {
            let Some(((room, user, thread), (event_id, ts))) = self.receipts.pop_first() else {
                break;
            };
            let mut data = json!({ "ts": ts });
            if !thread.is_empty() {
                data["thread_id"] = thread.into();
            }
            let receipt = json!({ "event_ids": [event_id], "data": data });
            let is_free = |edu: &Map<String, Value>| {
                edu.get(room.as_str()).is_none_or(|kinds| kinds["m.read"][user.as_str()].is_null())
            };
            let at = edus.iter().position(is_free).unwrap_or_else(|| {
                edus.push(Map::new());
                edus.len() - 1
            });
            let kinds = edus[at].entry(room.as_str()).or_insert_with(|| json!({ "m.read": {} }));
            kinds["m.read"][user.as_str()] = receipt;
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
