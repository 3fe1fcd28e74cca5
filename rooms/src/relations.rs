//! Events that relate to others, and their summary bundled with the event they relate to.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, RoomId, UserId, api::Direction};

use crate::{Error, Rooms, StoredEvent};

#[derive(Clone, Copy, Debug)]
pub struct RelationsQuery<'a> {
    pub rel_type: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub dir: Direction,
    pub limit: usize,
    pub recurse: bool,
}

#[derive(Clone, Debug)]
pub struct RelationsPage {
    pub chunk: Vec<Arc<StoredEvent>>,
    pub next_batch: Option<String>,
    pub prev_batch: Option<String>,
    pub recursion_depth: Option<u32>,
}

impl Rooms {
    pub async fn relations(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _event_id: &EventId,
        _query: RelationsQuery<'_>,
    ) -> Result<RelationsPage, Error> {
        unimplemented!()
    }
    /// Roots of threads, the one with the newest reply first, and the token of the next page.
    pub async fn threads(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _participated: bool,
        _from: Option<&str>,
        _limit: usize,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<String>), Error> {
        unimplemented!()
    }
    /// `m.relations` (a JSON object) of those of the events that have relations.
    pub async fn aggregations(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _events: &[Arc<StoredEvent>],
    ) -> Result<HashMap<OwnedEventId, Bytes>, Error> {
        unimplemented!()
    }
}
