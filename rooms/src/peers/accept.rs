//! What came of templates: `PUT /send_join`, `/send_leave`, `/send_knock`.

use std::sync::Arc;

use bytes::Bytes;
use events::Pdu;
use ruma::{
    EventId, OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState,
};

use super::PeerState;
use crate::{
    Error, EventStatus, RoomView, Rooms, StoredEvent, draft::Relay, ports::Handshake,
    receive::Strictness, rooms::Inner,
};

/// Of `PUT /v2/send_join`.
#[derive(Clone, Debug)]
pub struct JoinAnswer {
    /// The join, with this server's signature if that let the user in.
    pub event: Bytes,
    pub state: PeerState,
    pub members_omitted: bool,
    pub servers_in_room: Vec<OwnedServerName>,
}

impl Rooms {
    /// Lets a user of another server in. Durable on return. All members are told of, whatever the
    /// other server would be content with.
    pub async fn peer_join(
        &self,
        server: &ServerName,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<JoinAnswer, Error> {
        let event = self.accept(server, Handshake::Join, room, event_id, pdu).await?;
        let view = self.inner.view(room).await?.ok_or(Error::NotFound("the room"))?;
        Ok(JoinAnswer {
            event: event.pdu.json().clone(),
            state: self.state_with_chain(room, event.state_before).await?,
            members_omitted: false,
            servers_in_room: view.servers.keys().cloned().collect(),
        })
    }

    pub async fn peer_leave(
        &self,
        server: &ServerName,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<(), Error> {
        self.accept(server, Handshake::Leave, room, event_id, pdu).await.map(drop)
    }

    /// Returns what the knocking user is shown of the room, PDUs.
    pub async fn peer_knock(
        &self,
        server: &ServerName,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<Vec<Bytes>, Error> {
        let event = self.accept(server, Handshake::Knock, room, event_id, pdu).await?;
        self.describing_pdus(event.state_before, event.pdu.sender()).await
    }

    async fn accept(
        &self,
        server: &ServerName,
        handshake: Handshake,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<Arc<StoredEvent>, Error> {
        let inner = &*self.inner;
        let view = inner.open_room(server, room).await?;
        let pdu = Pdu::from_json(pdu, view.version)?;
        check_handshake(&pdu, server, handshake, room, event_id)?;
        // The same event again, since the answer was lost: it is answered again.
        if let Some(known) = inner.accepted(room, event_id).await? {
            check_handshake(&known.pdu, server, handshake, room, event_id)?;
            inner.store.barrier().wait().await?;
            return Ok(known);
        }
        inner.check_place(&view, &pdu).await?;
        let pdu = match handshake {
            Handshake::Join => inner.vouch(&view, pdu).await?,
            Handshake::Leave | Handshake::Knock => pdu,
        };
        let mut checked = inner.verified(view.version, room, vec![pdu.json().clone()]).await;
        let pdu = match checked.pop() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Err(Error::BadSignature(dropped.reason)),
            None => return Err(Error::Internal("a verdict is missing".to_owned())),
        };
        let pdu = inner.with_recommendation(room, pdu).await?;
        let relay = Relay::AllBut(server.to_owned());
        let taken = inner.take(room, pdu, Vec::new(), relay, Strictness::Refuse).await?;
        if let Some(submitted) = taken.submitted {
            submitted.durable(inner).await?;
        }
        inner.event_in(room, event_id).await
    }
}

/// What the path says, what the body says and who sends it must agree.
fn check_handshake(
    pdu: &Pdu,
    server: &ServerName,
    handshake: Handshake,
    room: &RoomId,
    event_id: &EventId,
) -> Result<(), Error> {
    let membership = match handshake {
        Handshake::Join => MembershipState::Join,
        Handshake::Leave => MembershipState::Leave,
        Handshake::Knock => MembershipState::Knock,
    };
    let bad = |reason: &str| Err(Error::InvalidParam(reason.to_owned()));
    if pdu.room_id() != room {
        return bad("the event is one of another room");
    }
    if pdu.event_id() != event_id {
        return bad("the event is not the one that the path names");
    }
    if pdu.membership() != Some(membership) {
        return bad("the event is not the membership that the path names");
    }
    if pdu.state_key() != Some(pdu.sender().as_str()) {
        return bad("users can only do this for themselves");
    }
    if pdu.sender().server_name() != server {
        return Err(Error::Forbidden("the sender is not a user of your server".to_owned()));
    }
    Ok(())
}

impl Inner {
    /// An event of the room's history, durable or not.
    async fn accepted(
        &self,
        room: &RoomId,
        id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let event = self.events.get_latest(id).await?;
        Ok(event
            .filter(|event| event.pdu.room_id() == room && event.status == EventStatus::Accepted))
    }

    /// A template said where the event goes, so it goes on from what is known here: whoever is not
    /// in the room has no say in what came before.
    async fn check_place(&self, view: &RoomView, pdu: &Pdu) -> Result<(), Error> {
        let bad = |reason: &str| Err(Error::InvalidParam(reason.to_owned()));
        if pdu.prev_events().is_empty() {
            return bad("the event does not go on from anything");
        }
        for id in pdu.prev_events() {
            if self.accepted(&view.room_id, id).await?.is_none() {
                return bad("the event goes on from one that is not part of the room's history");
            }
        }
        for id in pdu.auth_events() {
            let event = self.events.get_latest(id).await?;
            if event.is_none_or(|event| event.pdu.room_id() != view.room_id) {
                return bad("an auth event of the event is not one of the room");
            }
        }
        Ok(())
    }

    /// Signs a restricted join that names a user of this server as the one who lets the user in.
    async fn vouch(&self, view: &RoomView, pdu: Pdu) -> Result<Pdu, Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            join_authorised_via_users_server: Option<String>,
        }
        if !view.version.restricted_joins() {
            return Ok(pdu);
        }
        let content = pdu.content_as::<Content>().ok();
        let named = content.and_then(|content| content.join_authorised_via_users_server);
        let named = named.and_then(|user| UserId::parse(user).ok());
        let Some(named) = named.filter(|user| self.is_local(user)) else { return Ok(pdu) };
        if !view.local_joined.contains(&named) {
            return Err(Error::Forbidden(format!("{named} is not in the room")));
        }
        let mut writer = self.writer(&view.room_id).await?.ok_or(Error::NotFound("the room"))?;
        let mut draft = writer.draft(self);
        // Whether the user is in one of the rooms that the join rules name; fails if not.
        self.vouching_user(&mut draft, pdu.sender(), &view.local_joined).await?;
        drop(writer);
        Ok(events::add_signature(&pdu, &self.key, &self.server_name, view.version)?)
    }
}
