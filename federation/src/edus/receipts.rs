//! `m.receipt`.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use rooms::NewReceipt;
use ruma::{OwnedEventId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Budget, own, parse, text};
use crate::inbound::Inbound;

/// Receipts that share a flush.
const AT_ONCE: usize = 32;

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
        budget: &mut Budget,
    ) -> Result<(), String> {
        let by_room: BTreeMap<String, &RawValue> = parse(content)?;
        let mut receipts = Vec::new();
        for (room, in_room) in by_room {
            let Ok(room) = RoomId::parse(&room) else { continue };
            let Ok(InRoom { read }) = parse(in_room) else { continue };
            if !self.inner.rooms.allows_server(origin, &room).await.map_err(text)? {
                continue;
            }
            let read = read.into_iter().take(budget.receipts);
            let before = receipts.len();
            receipts.extend(read.map(|(user, receipt)| (room.clone(), user, receipt)));
            budget.receipts -= receipts.len() - before;
        }
        let receipts = stream::iter(receipts);
        let receive = receipts.for_each_concurrent(AT_ONCE, async |(room, user, receipt)| {
            if let Err(reason) = self.receive_receipt(origin, &room, &user, receipt).await {
                tracing::debug!(%origin, %room, user, reason, "a receipt is left aside");
            }
        });
        receive.await;
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
