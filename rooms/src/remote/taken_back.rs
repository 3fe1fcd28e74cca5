//! A room that this server is not in takes back an invite, or refuses a knock. The specification
//! has no request for it: the member event comes in a transaction, as to the servers in the room.

use bytes::Bytes;
use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;

use crate::{
    Error, ReceiveError, ReceiveOutcome, Received, StoredEvent,
    rooms::Inner,
    store::{UserRoomRecord, UserRooms},
};

/// Whose membership a PDU of unknown version is about.
#[derive(Deserialize)]
struct About {
    #[serde(rename = "type")]
    event_type: String,
    state_key: Option<OwnedUserId>,
}

impl Inner {
    /// Takes the events of a room that no local user is in: those that end a local user's invite or
    /// knock are told to that user. Durable on return.
    pub(crate) async fn receive_outside(
        &self,
        room: &RoomId,
        pdus: Vec<Bytes>,
    ) -> Vec<ReceiveOutcome> {
        let mut outcomes = Vec::with_capacity(pdus.len());
        for pdu in pdus {
            let result =
                self.receive_end(room, pdu).await.unwrap_or_else(|error| Err(error.into()));
            outcomes.push(ReceiveOutcome { event_id: None, result });
        }
        outcomes
    }

    async fn receive_end(
        &self,
        room: &RoomId,
        json: Bytes,
    ) -> Result<Result<Received, ReceiveError>, Error> {
        const UNKNOWN: Result<Received, ReceiveError> = Err(ReceiveError::UnknownRoom);
        let about: Option<About> = serde_json::from_slice(&json).ok();
        let about = about.filter(|about| about.event_type == "m.room.member");
        let Some(user) = about.and_then(|about| about.state_key) else { return Ok(UNKNOWN) };
        let Some(pending) = self.pending_membership(room, &user).await? else { return Ok(UNKNOWN) };
        let checked = self.verified(pending.version, room, vec![json]).await;
        let pdu = match checked.into_iter().next() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Ok(Err(dropped.into())),
            None => return Ok(UNKNOWN),
        };
        let ends = matches!(pdu.membership(), Some(MembershipState::Leave | MembershipState::Ban));
        // Whether the sender may do that is not known here, but those who know of the membership
        // are in the room.
        if !ends || !pdu.auth_events().contains(pending.event_id()) {
            return Ok(UNKNOWN);
        }
        self.tell_outsider(&pdu, pending.version, &user, Vec::new(), Vec::new()).await?;
        Ok(Ok(Received::Accepted))
    }

    /// The invite or the knock of a local user.
    async fn pending_membership(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<std::sync::Arc<StoredEvent>>, Error> {
        if !self.is_local(user) {
            return Ok(None);
        }
        let row: Option<UserRoomRecord> = self.store.get::<UserRooms>(user, room).await?;
        let waits = |row: &UserRoomRecord| {
            matches!(row.membership, MembershipState::Invite | MembershipState::Knock)
        };
        match row.filter(waits) {
            Some(row) => self.events.get(&row.event_id).await,
            None => Ok(None),
        }
    }
}
