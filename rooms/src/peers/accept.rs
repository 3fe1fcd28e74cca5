//! What came of templates: `PUT /send_join`, `/send_leave`, `/send_knock`.

use std::sync::Arc;

use bytes::Bytes;
use events::Pdu;
use ruma::{
    EventId, OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState,
};

use super::PeerState;
use crate::{
    Error, RoomView, Rooms, Root, draft::Relay, ports::Handshake, receive::Strictness, rooms::Inner,
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
    /// Lets a user of another server in. Durable on return. With `omit_members` the state has those
    /// member events only that are needed to show the room.
    pub async fn peer_join(
        &self,
        server: &ServerName,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<JoinAnswer, Error> {
        let (event, before) = self.accept(server, Handshake::Join, room, event_id, pdu).await?;
        let view = self.inner.view(room).await?.ok_or(Error::NotFound("the room"))?;
        Ok(JoinAnswer {
            event: event.json().clone(),
            state: self.state_with_chain(before).await?,
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
        let (event, before) = self.accept(server, Handshake::Knock, room, event_id, pdu).await?;
        self.describing_pdus(before, event.sender()).await
    }

    async fn accept(
        &self,
        server: &ServerName,
        handshake: Handshake,
        room: &RoomId,
        event_id: &EventId,
        pdu: Bytes,
    ) -> Result<(Arc<Pdu>, Root), Error> {
        let inner = &*self.inner;
        let view = inner.open_room(server, room).await?;
        let pdu = Pdu::from_json(pdu, view.version)
            .map_err(|error| Error::InvalidParam(error.to_string()))?;
        check_handshake(&pdu, server, handshake, room, event_id)?;
        let pdu = match handshake {
            Handshake::Join => inner.vouch(&view, pdu).await?,
            _ => pdu,
        };
        let mut checked = inner.verified(view.version, room, vec![pdu.json().clone()]).await;
        let pdu = match checked.pop() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Err(Error::InvalidParam(dropped.reason)),
            None => return Err(Error::Internal("a verdict is missing".to_owned())),
        };
        let gap = inner.fetch_context_of(server, &view, &pdu).await?;
        let relay = Relay::AllBut(server.to_owned());
        let taken = inner.take(room, Arc::clone(&pdu), gap, relay, Strictness::Refuse).await?;
        let before = match taken.submitted {
            Some(submitted) => {
                submitted.durable(inner).await?;
                taken.state_before
            }
            // The same event again, since the answer was lost: it is answered again.
            None => inner.event_in(room, pdu.event_id()).await?.state_before,
        };
        Ok((pdu, before))
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
    /// Signs a restricted join that names a user of this server as the one who lets the user in.
    async fn vouch(&self, view: &RoomView, pdu: Pdu) -> Result<Pdu, Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            join_authorised_via_users_server: Option<String>,
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
