//! Rooms of a hierarchy that this server is not in, as others describe them.

use bytes::Bytes;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, PublicRoom, RoomSummary, Rooms, spaces::children::Child};

/// Children of one room that are looked at.
const CHILDREN_MAX: usize = 1000;

/// A room as another server tells of it, and the rooms right below it as far as that one knows
/// them.
pub(crate) struct Described {
    pub(crate) summary: RoomSummary,
    pub(crate) children: Vec<Child>,
}

#[derive(Deserialize)]
struct Wire {
    room: Box<RawValue>,
}

#[derive(Deserialize)]
struct WireRoom {
    room_id: OwnedRoomId,
    name: Option<String>,
    topic: Option<String>,
    canonical_alias: Option<OwnedRoomAliasId>,
    avatar_url: Option<String>,
    room_type: Option<String>,
    #[serde(default = "invite")]
    join_rule: String,
    #[serde(default)]
    num_joined_members: u64,
    #[serde(default)]
    world_readable: bool,
    #[serde(default)]
    guest_can_join: bool,
    #[serde(default = "first_version")]
    room_version: String,
    encryption: Option<String>,
    #[serde(default)]
    allowed_room_ids: Vec<OwnedRoomId>,
    #[serde(default)]
    children_state: Vec<Box<RawValue>>,
}

fn invite() -> String {
    "invite".to_owned()
}

fn first_version() -> String {
    "1".to_owned()
}

impl Rooms {
    /// `None` if no server tells of the room, or the viewer may not know of it. A server tells of
    /// what any of our users may know, so it is for us to tell them apart.
    pub(crate) async fn described_room(
        &self,
        viewer: &UserId,
        room: &RoomId,
        via: &[OwnedServerName],
        suggested_only: bool,
    ) -> Result<Option<Described>, Error> {
        let told = match self.remote_hierarchy(viewer, room, via, suggested_only).await {
            Ok(told) => told,
            Err(Error::Remote(_) | Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(described) =
            read(&told).filter(|described| described.summary.room.room_id == room)
        else {
            return Ok(None);
        };
        Ok(self.may_know_described(viewer, &described.summary).await?.then_some(described))
    }

    async fn may_know_described(
        &self,
        viewer: &UserId,
        summary: &RoomSummary,
    ) -> Result<bool, Error> {
        use ruma::events::room::member::MembershipState::{Invite, Join, Knock};
        let rule = summary.room.join_rule.as_str();
        if matches!(rule, "public" | "knock" | "knock_restricted") || summary.room.world_readable {
            return Ok(true);
        }
        let own = self.user_room(viewer, &summary.room.room_id).await?;
        if own.is_some_and(|own| matches!(own.membership, Join | Invite | Knock)) {
            return Ok(true);
        }
        for allowed in &summary.allowed_room_ids {
            if self.membership(viewer, allowed).await? == Some(Join) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn read(told: &RawValue) -> Option<Described> {
    let Wire { room } = serde_json::from_str(told.get()).ok()?;
    let wire: WireRoom = serde_json::from_str(room.get()).ok()?;
    let mut children: Vec<Child> = wire
        .children_state
        .iter()
        .take(CHILDREN_MAX)
        .filter_map(|event| Child::of_stripped(event.get()))
        .collect();
    children.sort_by(|a, b| a.rank().cmp(&b.rank()));
    let children_state = children.iter().map(|child| Bytes::clone(&child.stripped)).collect();
    let summary = RoomSummary {
        room: PublicRoom {
            room_id: wire.room_id,
            name: wire.name,
            topic: wire.topic,
            canonical_alias: wire.canonical_alias,
            avatar_url: wire.avatar_url,
            room_type: wire.room_type,
            join_rule: wire.join_rule,
            num_joined_members: wire.num_joined_members,
            world_readable: wire.world_readable,
            guest_can_join: wire.guest_can_join,
        },
        room_version: wire.room_version,
        encryption: wire.encryption,
        allowed_room_ids: wire.allowed_room_ids,
        membership: None,
        children_state,
    };
    Some(Described { summary, children })
}
