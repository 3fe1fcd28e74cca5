//! The event of a moment in a part of the history that this server has not got.

use std::sync::Arc;

use ruma::{OwnedEventId, OwnedServerName, RoomId, api::Direction};
use storage::Range;
use tokio::time::{Duration, timeout};

use crate::{Error, EventStatus, RoomView, StoredEvent, rooms::Inner, store::Gaps};

/// What a reader waits for an answer at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers asked for one moment.
const SERVERS: usize = 3;

impl Inner {
    /// The event closest to `ts` (milliseconds) that other servers know of, if it is closer than
    /// `known`, and if history is missing here. It has a place in history on return.
    pub(crate) async fn closer_in_time(
        &self,
        room: &RoomId,
        ts: u64,
        dir: Direction,
        known: Option<u64>,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        // Nothing is between the two.
        if known == Some(ts)
            || self.store.scan::<Gaps>(room, Range::all().limit(1)).await?.is_empty()
        {
            return Ok(None);
        }
        let view = self.view(room).await?.filter(|view| !view.local_joined.is_empty());
        let Some(view) = view else { return Ok(None) };
        let search = async {
            for server in self.likely_servers(&view, view.create.sender()).iter().take(SERVERS) {
                let backward = dir == Direction::Backward;
                let remote = &self.ports.remote;
                let Ok((id, at)) = remote.timestamp_to_event(server, room, ts, backward).await
                else {
                    continue;
                };
                let fits = if backward { at <= ts } else { at >= ts };
                if fits && known.is_none_or(|known| at.abs_diff(ts) < known.abs_diff(ts)) {
                    return self.placed_moment(server, &view, id, at).await;
                }
            }
            Ok(None)
        };
        timeout(PATIENCE, search).await.unwrap_or(Ok(None))
    }

    async fn placed_moment(
        &self,
        server: &OwnedServerName,
        view: &RoomView,
        id: OwnedEventId,
        at: u64,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let room = &view.room_id;
        if !self.has_judged(&id).await? {
            let _flight = self.history_flights.enter(room).await;
            let Ok(json) = self.ports.remote.event(server, &id).await else { return Ok(None) };
            let checked = self.verified(view.version, room, vec![json]).await;
            let pdus: Vec<_> = checked.into_iter().flatten().collect();
            self.place_history(server, view, None, pdus).await?;
        }
        let event = self.events.get(&id).await?;
        // The server may have lied about the time, or about the room.
        Ok(event.filter(|event| {
            event.status == EventStatus::Accepted
                && event.pdu.room_id() == room
                && event.pdu.origin_server_ts() == at
        }))
    }
}
