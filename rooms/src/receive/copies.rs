//! What a server hands on may have lost its signatures on the way: the sender's own server may have
//! it as it was.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use futures_util::{StreamExt as _, stream};
use ruma::{EventId, RoomId, ServerName};

use super::Dropped;
use crate::rooms::Inner;

/// Copies that are asked for because of one answer: whoever answers chooses who is asked.
const COPIES_MAX: usize = 10;
const AT_ONCE: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    /// As [`Inner::verified`], for what `server` answered: of events whose signatures are wrong the
    /// senders' servers are asked for copies.
    pub(crate) async fn verified_of(
        &self,
        server: &ServerName,
        version: &'static RoomVersion,
        room: &RoomId,
        pdus: Vec<Bytes>,
    ) -> Vec<Result<Arc<Pdu>, Dropped>> {
        let mut checked = self.verified(version, room, pdus).await;
        let mut wanted = Vec::new();
        for (index, dropped) in checked.iter().enumerate() {
            let Err(Dropped { event_id: Some(id), copy_at: Some(at), .. }) = dropped else {
                continue;
            };
            let is_elsewhere = at != server && *at != self.server_name;
            if is_elsewhere && matches!(self.events.get_latest(id).await, Ok(None)) {
                wanted.push((index, at.clone(), id.clone()));
            }
            if wanted.len() == COPIES_MAX {
                break;
            }
        }
        let mut copies =
            stream::iter(wanted)
                .map(|(index, at, id)| async move {
                    (index, self.copy_at(&at, version, room, &id).await)
                })
                .buffer_unordered(AT_ONCE);
        let collect = async {
            while let Some((index, copy)) = copies.next().await {
                if let Some(pdu) = copy {
                    checked[index] = Ok(pdu);
                }
            }
        };
        // Those that came in time are used.
        let _all_or_some = tokio::time::timeout(PATIENCE, collect).await;
        checked
    }

    async fn copy_at(
        &self,
        at: &ServerName,
        version: &'static RoomVersion,
        room: &RoomId,
        id: &EventId,
    ) -> Option<Arc<Pdu>> {
        let log = |error: &dyn std::fmt::Display| {
            tracing::debug!(%error, event_id = %id, server = %at, "no better copy");
        };
        let json = self.ports.remote.event(at, id).await.inspect_err(|error| log(error)).ok()?;
        let copy = self.verified(version, room, vec![json]).await.pop()?;
        let copy = copy.inspect_err(|dropped| log(&dropped.reason)).ok()?;
        (copy.event_id() == id).then_some(copy)
    }
}
