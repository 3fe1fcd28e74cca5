//! `bump_stamp`: when something last happened in a room that people care about.

use std::sync::atomic::Ordering;

use storage::Position;

use super::Hub;
use crate::{SyncError, changes::RoomMark};

/// Events looked at for the newest that counts. Behind so much else it is long ago.
const MAX_LOOKED_AT: usize = 500;
/// Read at first, and at a time.
const PAGE_MIN: usize = 5;
const PAGE_MAX: usize = 100;

/// "\"Proper\" activity is defined as an event being received is one of the following types".
pub(super) fn is_activity(event_type: &str) -> bool {
    matches!(
        event_type,
        "m.room.create"
            | "m.room.message"
            | "m.room.encrypted"
            | "m.sticker"
            | "m.call.invite"
            | "m.poll.start"
            | "m.beacon_info"
    )
}

impl Hub {
    /// Position of the newest event that counts, looked up once.
    pub(crate) async fn bump_stamp(&self, mark: &RoomMark) -> Result<Position, SyncError> {
        if mark.bump_is_exact.load(Ordering::Acquire) {
            return Ok(mark.bump.get());
        }
        let mut up_to = Position::MAX;
        let (mut page_size, mut looked_at) = (PAGE_MIN, 0);
        let found = loop {
            let page =
                self.sources.rooms.timeline(&mark.room_id, 0, up_to, page_size, true).await?;
            looked_at += page.len();
            if let Some(event) = page.iter().find(|event| is_activity(event.pdu.event_type())) {
                break event.position;
            }
            up_to = page.last().map_or(0, |event| event.position.saturating_sub(1));
            if page.len() < page_size || looked_at >= MAX_LOOKED_AT {
                break up_to;
            }
            page_size = (2 * page_size).min(PAGE_MAX);
        };
        mark.bump.raise(found);
        mark.bump_is_exact.store(true, Ordering::Release);
        Ok(mark.bump.get())
    }
}
