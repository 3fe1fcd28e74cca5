//! The events of a room in order: of delivery for sync, topological for those who scroll.

use std::sync::Arc;

use ruma::{
    EventId, OwnedEventId, RoomId, UserId,
    api::{Direction, client::filter::RoomEventFilter},
};
use storage::Position;

use crate::{Error, Rooms, StoredEvent};

#[derive(Clone, Copy, Debug)]
pub struct MessagesQuery<'a> {
    /// A token of [`Page`], [`Context`] or sync; unset: the end of the room in that direction.
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub dir: Direction,
    pub limit: usize,
    pub filter: &'a RoomEventFilter,
}

#[derive(Clone, Debug)]
pub struct Page {
    pub start: String,
    /// Unset at the end of the history.
    pub end: Option<String>,
    pub chunk: Vec<Arc<StoredEvent>>,
    /// Member events of the senders, when members are loaded lazily.
    pub state: Vec<Arc<StoredEvent>>,
}

#[derive(Clone, Debug)]
pub struct Context {
    pub event: Arc<StoredEvent>,
    /// Newest first.
    pub before: Vec<Arc<StoredEvent>>,
    pub after: Vec<Arc<StoredEvent>>,
    pub state: Vec<Arc<StoredEvent>>,
    pub start: String,
    pub end: String,
}

impl Rooms {
    /// Accepted events with `after < position <= up_to` in the order of delivery, or the newest of
    /// them first. Not filtered for a viewer: see [`Rooms::visible`].
    pub async fn timeline(
        &self,
        _room: &RoomId,
        _after: Position,
        _up_to: Position,
        _limit: usize,
        _newest_first: bool,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
    /// The token of the place just before the event, from which `/messages` goes back.
    pub fn token_before(&self, _event: &StoredEvent) -> String {
        unimplemented!()
    }
    pub async fn event(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _event_id: &EventId,
    ) -> Result<Arc<StoredEvent>, Error> {
        unimplemented!()
    }
    pub async fn messages(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _query: MessagesQuery<'_>,
    ) -> Result<Page, Error> {
        unimplemented!()
    }
    pub async fn context(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _event_id: &EventId,
        _limit: usize,
        _filter: &RoomEventFilter,
    ) -> Result<Context, Error> {
        unimplemented!()
    }
    /// The event closest to `ts` (milliseconds) in that direction, and its time.
    pub async fn timestamp_to_event(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _ts: u64,
        _dir: Direction,
    ) -> Result<(OwnedEventId, u64), Error> {
        unimplemented!()
    }
}
