//! The state that goes with an invitation or a knock, so that the user sees what it is about.

use bytes::Bytes;
use ruma::{RoomId, UserId};

use crate::{Error, Rooms, StoredEvent, UserRoom};

/// "The following state events SHOULD be included", besides the create event.
const DESCRIBING: [&str; 6] = [
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
];

impl Rooms {
    /// JSON objects: the create event in full, what describes the room, and the member events of
    /// the user and of whoever invited them.
    pub async fn stripped_state(
        &self,
        user_room: &UserRoom,
        user: &UserId,
    ) -> Result<Vec<Bytes>, Error> {
        let root = user_room.state;
        let mut events = Vec::new();
        if let Some(create) = self.state_get(root, "m.room.create", "").await? {
            events.push(in_full(&create, &user_room.room_id));
        }
        for event_type in DESCRIBING {
            let event = self.state_get(root, event_type, "").await?;
            events.extend(event.map(|event| stripped(&event)));
        }
        let member = self.state_get(root, "m.room.member", user.as_str()).await?;
        if let Some(member) = &member
            && member.pdu.sender() != user
        {
            let inviter = member.pdu.sender().as_str();
            let inviter = self.state_get(root, "m.room.member", inviter).await?;
            events.extend(inviter.map(|inviter| stripped(&inviter)));
        }
        events.extend(member.map(|member| stripped(&member)));
        Ok(events)
    }
}

fn stripped(event: &StoredEvent) -> Bytes {
    events::stripped(&event.pdu).into()
}

/// Peers and clients check a version 12 room's id against its create event.
fn in_full(create: &StoredEvent, room_id: &RoomId) -> Bytes {
    let mut out = Vec::with_capacity(512);
    create.client.write(&mut out, Some(room_id), None);
    out.into()
}
