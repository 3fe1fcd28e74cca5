//! The state that goes with an invitation or a knock, so that the user sees what it is about.

use bytes::Bytes;
use ruma::{RoomId, UserId};

use crate::{Error, Rooms, Root, StoredEvent, UserRoom, store::InviteStates};

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
        if let Some(shown) = self.inner.store.get::<InviteStates>(user, &user_room.room_id).await? {
            return self.with_own_event(shown.events, user_room).await;
        }
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

    /// What other servers show of the room, and the user's own member event, which is checked.
    async fn with_own_event(
        &self,
        mut shown: Vec<Bytes>,
        user_room: &UserRoom,
    ) -> Result<Vec<Bytes>, Error> {
        let own = self.inner.events.get(&user_room.event_id).await?;
        shown.extend(own.map(|own| stripped(&own)));
        Ok(shown)
    }

    /// The same for other servers: PDUs, as versions 1.16 and later of the specification have it.
    /// `member` is who sends the invite or the knock.
    pub(crate) async fn describing_pdus(
        &self,
        root: Root,
        member: &UserId,
    ) -> Result<Vec<Bytes>, Error> {
        let keys = DESCRIBING.map(|event_type| (event_type, ""));
        let more = [("m.room.create", ""), ("m.room.member", member.as_str())];
        let mut events = Vec::new();
        for (event_type, state_key) in more.into_iter().chain(keys) {
            let event = self.state_get(root, event_type, state_key).await?;
            events.extend(event.map(|event| event.pdu.json().clone()));
        }
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
