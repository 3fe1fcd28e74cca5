//! `m.receipt`.

use std::collections::BTreeMap;

use rooms::NewReceipt;
use ruma::{OwnedEventId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{own, parse, text};
use crate::inbound::Inbound;

/// Receipts of one notice that are looked at.
const RECEIPTS_MAX: usize = 1000;

/// "Currently only `m.read` is supported": private ones do not leave their server.
#[derive(Deserialize)]
struct InRoom<'a> {
    #[serde(rename = "m.read", borrow, default)]
    read: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Receipt {
    event_ids: Vec<OwnedEventId>,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    thread_id: Option<String>,
}

impl Inbound {
    pub(super) async fn receive_receipts(
        &self,
        origin: &ServerName,
        content: &RawValue,
    ) -> Result<(), String> {
        let by_room: BTreeMap<String, &RawValue> = parse(content)?;
        let mut left = RECEIPTS_MAX;
        for (room, receipts) in by_room {
            let Ok(room) = RoomId::parse(&room) else { continue };
            let Ok(InRoom { read }) = parse(receipts) else { continue };
            if !self.inner.rooms.allows_server(origin, &room).await.map_err(text)? {
                continue;
            }
            for (user, receipt) in read {
                left = left.checked_sub(1).ok_or("too many receipts")?;
                if let Err(reason) = self.receive_receipt(origin, &room, &user, receipt).await {
                    tracing::debug!(%origin, %room, user, reason, "a receipt is left aside");
                }
            }
        }
        Ok(())
    }

    async fn receive_receipt(
        &self,
        origin: &ServerName,
        room: &ruma::RoomId,
        user: &str,
        receipt: &RawValue,
    ) -> Result<(), String> {
        let user = UserId::parse(user).map_err(text)?;
        own(origin, &user)?;
        let Receipt { event_ids, data } = parse(receipt)?;
        let event_id = event_ids.first().ok_or("there is no event in it")?;
        let receipt = NewReceipt {
            room_id: room,
            user: &user,
            kind: "m.read",
            event_id,
            thread: data.thread_id.as_deref(),
        };
        self.inner.rooms.set_receipt(receipt).await.map_err(text)
    }
}
