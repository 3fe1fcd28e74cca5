//! What a transaction says.

use bytes::Bytes;
use rooms::{StoredEvent, UnsignedFor};
use ruma::{UserId, events::room::member::MembershipState};
use serde_json::{Value, json};

use crate::{
    Registration,
    deliveries::Inner,
    pending::{Taken, receipt_events},
    store::EventRecord,
};

impl Inner {
    /// `None` if there is nothing to say.
    pub(crate) async fn body(
        &self,
        service: &Registration,
        events: &[EventRecord],
        taken: Taken,
    ) -> Result<Option<Bytes>, rooms::Error> {
        let ephemeral = self.ephemeral(taken);
        if events.is_empty() && ephemeral.is_empty() {
            return Ok(None);
        }
        let mut out = br#"{"events":["#.to_vec();
        let mut first = true;
        for record in events {
            let Some(event) = self.rooms.event_by_id(&record.event_id).await? else { continue };
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let unsigned = self.unsigned(service, &event).await?;
            event.client.write(&mut out, Some(&record.room_id), Some(&unsigned));
        }
        out.push(b']');
        if !ephemeral.is_empty() {
            out.extend_from_slice(br#","ephemeral":"#);
            out.extend_from_slice(Value::Array(ephemeral).to_string().as_bytes());
        }
        out.push(b'}');
        Ok(Some(out.into()))
    }

    /// As whoever of its users the event is about sees it, or as its sender does.
    async fn unsigned(
        &self,
        service: &Registration,
        event: &StoredEvent,
    ) -> Result<Vec<u8>, rooms::Error> {
        let target = event.pdu.state_key().and_then(|key| UserId::parse(key).ok());
        let target = target.filter(|user| service.covers_user(user));
        let viewer = target.as_deref().unwrap_or(&service.sender);
        let whom = UnsignedFor { viewer, device: None, membership: None, relations: None };
        let mut unsigned = self.rooms.unsigned(event, &whom).await?;
        if let Some(target) = &target
            && event.pdu.membership() == Some(MembershipState::Invite)
        {
            self.add_invite_state(event, target, &mut unsigned).await?;
        }
        Ok(unsigned)
    }

    /// `invite_room_state`, as bridges know it from deployed servers: what a room looks like that
    /// they cannot look into.
    async fn add_invite_state(
        &self,
        event: &StoredEvent,
        target: &UserId,
        unsigned: &mut Vec<u8>,
    ) -> Result<(), rooms::Error> {
        let now = self.rooms.user_room(target, event.pdu.room_id()).await?;
        let Some(now) = now.filter(|now| now.event_id == *event.event_id()) else { return Ok(()) };
        let state = self.rooms.stripped_state(&now, target).await?;
        unsigned.pop();
        if unsigned.len() > 1 {
            unsigned.push(b',');
        }
        unsigned.extend_from_slice(br#""invite_room_state":["#);
        unsigned.extend_from_slice(&state.join(&b","[..]));
        unsigned.extend_from_slice(b"]}");
        Ok(())
    }

    fn ephemeral(&self, taken: Taken) -> Vec<Value> {
        let mut events = receipt_events(taken.receipts);
        for room in taken.typing {
            let (_, user_ids) = self.rooms.typing(&room);
            let content = json!({ "user_ids": user_ids });
            events.push(json!({ "type": "m.typing", "room_id": room, "content": content }));
        }
        let now = self.clock.now_ms();
        for user in taken.presence {
            let Some(state) = self.presence.get_cached(&user) else { continue };
            let content = state.content(now);
            events.push(json!({ "type": "m.presence", "sender": user, "content": content }));
        }
        events
    }
}
