//! Room summaries and the rooms below a space.

use bytes::Bytes;
use ruma::{OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};

use crate::{Error, PublicRoom, Rooms};

#[derive(Clone, Copy, Debug)]
pub struct HierarchyQuery<'a> {
    pub from: Option<&'a str>,
    pub limit: usize,
    pub max_depth: usize,
    pub suggested_only: bool,
}

#[derive(Clone, Debug)]
pub struct RoomSummary {
    pub room: PublicRoom,
    pub room_version: String,
    pub encryption: Option<String>,
    pub allowed_room_ids: Vec<OwnedRoomId>,
    /// The viewer's.
    pub membership: Option<MembershipState>,
    /// Stripped `m.space.child` events with `origin_server_ts`, JSON objects.
    pub children_state: Vec<Bytes>,
}

#[derive(Clone, Debug)]
pub struct HierarchyPage {
    pub rooms: Vec<RoomSummary>,
    pub next_batch: Option<String>,
}

impl Rooms {
    /// `viewer` is unset for a request without authentication.
    pub async fn summary(
        &self,
        _viewer: Option<&UserId>,
        _room: &RoomId,
    ) -> Result<RoomSummary, Error> {
        unimplemented!()
    }
    pub async fn hierarchy(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _query: HierarchyQuery<'_>,
    ) -> Result<HierarchyPage, Error> {
        unimplemented!()
    }
}
