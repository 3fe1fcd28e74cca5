//! A room becomes known through the join of a local user, with the state that a resident server
//! handed over.

use std::sync::Arc;

use events::{Pdu, RoomVersion};
use ruma::{OwnedEventId, OwnedRoomId};

use super::{Strictness, outliers::Held};
use crate::{
    Error, EventStatus, Root,
    draft::{Draft, Relay},
    room::StateCache,
    rooms::Inner,
    store::{Gaps, SideEvents},
};

/// What is needed to be in a room. Every event of the state and of the auth chains is stored as an
/// outlier.
pub(crate) struct FoundRoom {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) version: &'static RoomVersion,
    /// The join of a local user, verified.
    pub(crate) join: Arc<Pdu>,
    /// The state before it.
    pub(crate) state: Vec<OwnedEventId>,
}

impl Inner {
    /// Makes the room this server's too, in one batch; durable on return. A server that is in the
    /// room already takes the join as one more event.
    pub(crate) async fn found_room(&self, found: FoundRoom) -> Result<(), Error> {
        let FoundRoom { room_id, version, join, state } = found;
        let state = self.state_of(&room_id, &state).await?;
        let create = state.get(&("m.room.create".to_owned(), String::new()));
        let create = create.ok_or_else(|| unusable("the room has no create event"))?;
        if let Some(implied) = version
            .room_id_is_create_hash()
            .then(|| events::room_create_event_id(&room_id))
            .flatten()
            && implied != *create
        {
            return Err(unusable("the create event is not the one that the room's id names"));
        }
        let create = self.events.get_latest(create).await?;
        let create = create.ok_or_else(|| unusable("the room has no create event"))?;
        let create = Arc::clone(&create.pdu);
        let root = self.new_root(state)?;
        if !version.room_id_is_create_hash() && !join.auth_events().contains(create.event_id()) {
            return Err(unusable("the join stands on another create event"));
        }
        if !self.unknown(join.auth_events().iter()).await?.is_empty() {
            return Err(unusable("an auth event of the join is not there"));
        }
        if let Err(reason) = self.check_auth_events(version, &join, &Held::new()).await? {
            return Err(Error::Forbidden(reason));
        }
        if let Err(reason) = self.check_by_state(version, &create, &join, root).await? {
            return Err(Error::Forbidden(reason));
        }
        let gap = (join.depth(), join.event_id().clone());
        let more = |batch: &mut storage::Batch| {
            batch.derive_delete::<SideEvents>(&gap.1, ());
            batch.put::<Gaps>(&room_id, (gap.0, &gap.1), &());
        };
        let Some(mut writer) = self.writer(&room_id).await? else {
            let mut cache = StateCache::default();
            let mut draft = Draft::first(self, version, &mut cache);
            draft.room_id = Some(room_id.clone());
            draft.create = Some(create);
            draft.found(join, root).await?;
            return self.submit_new_room(draft, more).await?.durable(self).await;
        };
        let known = writer.view();
        if known.create.event_id() != create.event_id()
            || known.version.as_str() != version.as_str()
        {
            return Err(unusable("another room with this id is known"));
        }
        if !known.local_joined.is_empty() {
            drop(writer);
            let join = self.with_recommendation(&room_id, join).await?;
            let gap = vec![root];
            let taken = self.take(&room_id, join, gap, Relay::Nobody, Strictness::Refuse).await?;
            if let Some(submitted) = taken.submitted {
                submitted.durable(self).await?;
            }
            return Ok(());
        }
        // Nobody has been looking: what was known of the room is the past.
        let room = Arc::clone(&writer.room);
        let mut draft = writer.draft(self);
        draft.extremities.clear();
        draft.found(join, root).await?;
        let outcome = draft.submit(&room, more)?;
        writer.finish(outcome).durable(self).await
    }

    pub(crate) async fn membership_of(
        &self,
        member_event: &ruma::EventId,
    ) -> Result<ruma::events::room::member::MembershipState, Error> {
        let event = self.events.get_latest(member_event).await?;
        let event = event.filter(|event| event.status != EventStatus::Rejected);
        Ok(event
            .and_then(|event| event.pdu.membership())
            .unwrap_or(ruma::events::room::member::MembershipState::Leave))
    }
}

impl Draft<'_> {
    async fn found(&mut self, join: Arc<Pdu>, state: Root) -> Result<(), Error> {
        // The join itself stands on the state, so it never redacts anything.
        self.forked = true;
        let _no_redaction = self.take_in(join, state, Relay::Nobody).await?;
        Ok(())
    }
}

fn unusable(reason: &str) -> Error {
    Error::InvalidRoomState(reason.to_owned())
}
