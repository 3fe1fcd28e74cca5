//! `PUT /invite`: a user of this server is invited to a room, known here or not.

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use ruma::{
    EventId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    events::room::member::MembershipState,
};
use serde_json::value::RawValue;
use storage::{Batch, CommitError, Fact, Position};

use crate::{
    Error, MembershipFact, Rooms, Root,
    rooms::Inner,
    store::{
        InviteState, InviteStates, SideEvents, SideRecord, SideStatus, UserRoomRecord, UserRooms,
    },
    stream,
};

/// What is shown of a room to those who are not in it: events, and their bytes.
const SHOWN_EVENTS: usize = 50;
const SHOWN_BYTES: usize = 256 << 10;
/// Servers that are remembered to be in a room that a user was told of.
const VIA_MAX: usize = 20;
/// Times that a membership may change while it is being replaced.
const ATTEMPTS: usize = 5;

#[derive(Clone, Debug)]
pub struct IncomingInvite<'a> {
    pub room_id: &'a RoomId,
    pub event_id: &'a EventId,
    pub room_version: &'a str,
    pub event: Bytes,
    /// `invite_room_state`, JSON objects.
    pub stripped_state: Vec<Bytes>,
    pub via: Vec<OwnedServerName>,
}

impl Rooms {
    /// Whom the invite is for, before anything is signed or stored. The caller knows whether that
    /// user exists, which is nothing for a server that the room denies.
    pub async fn peer_invited_user(
        &self,
        server: &ServerName,
        invite: &IncomingInvite<'_>,
    ) -> Result<OwnedUserId, Error> {
        let (_, user) = self.inner.check_invite(server, invite)?;
        self.inner.check_invites_from(server, invite.room_id).await?;
        Ok(user)
    }

    /// Signs the invite and tells the user of it. Returns the event with the signature. Durable on
    /// return.
    pub async fn peer_invite(
        &self,
        server: &ServerName,
        invite: IncomingInvite<'_>,
    ) -> Result<Bytes, Error> {
        let inner = &*self.inner;
        let (version, user) = inner.check_invite(server, &invite)?;
        inner.check_invites_from(server, invite.room_id).await?;
        let checked = inner.verified(version, invite.room_id, vec![invite.event.clone()]).await;
        let pdu = match checked.into_iter().next() {
            Some(Ok(pdu)) => pdu,
            Some(Err(dropped)) => return Err(Error::BadSignature(dropped.reason)),
            None => return Err(Error::Internal("a verdict is missing".to_owned())),
        };
        // Of an invite through a third party the rules ask no signature of the sender's server.
        let signed = inner.check_signature_of(version, &pdu, server).await;
        signed.map_err(|dropped| Error::BadSignature(dropped.reason))?;
        check_shown(version, invite.room_id, &invite.stripped_state)?;
        let signed = events::add_signature(&pdu, &inner.key, &inner.server_name, version)?;
        // A server in the room hears of the invite as of every other event.
        if !inner.is_resident(invite.room_id).await? && !inner.was_told(&user, &signed).await? {
            let shown = shown_state(invite.stripped_state);
            inner.tell_outsider(&signed, version, &user, shown, invite.via).await?;
        }
        Ok(signed.json().clone())
    }
}

impl Inner {
    /// This server signs nothing but an invite, by a user of the server that asks, for a user of
    /// its own.
    fn check_invite(
        &self,
        server: &ServerName,
        invite: &IncomingInvite<'_>,
    ) -> Result<(&'static RoomVersion, OwnedUserId), Error> {
        let version = RoomVersion::parse(invite.room_version)
            .ok_or_else(|| Error::IncompatibleRoomVersion(invite.room_version.to_owned()))?;
        let pdu = Pdu::from_json(invite.event.clone(), version)?;
        let bad = |reason: &str| Err(Error::InvalidParam(reason.to_owned()));
        if pdu.room_id() != invite.room_id || pdu.event_id() != invite.event_id {
            return bad("the event is not the one that the path names");
        }
        if pdu.event_type() != "m.room.member" || pdu.membership() != Some(MembershipState::Invite)
        {
            return bad("the event is not an invite");
        }
        if pdu.sender().server_name() != server {
            return Err(Error::Forbidden("the sender is not a user of your server".to_owned()));
        }
        let user = pdu.state_key().and_then(|key| UserId::parse(key).ok());
        let Some(user) = user.filter(|user| self.is_local(user)) else {
            return bad("the invited user is not one of this server");
        };
        Ok((version, user))
    }

    /// A room that is not known here has no list that could deny anybody.
    async fn check_invites_from(&self, server: &ServerName, room: &RoomId) -> Result<(), Error> {
        match self.view(room).await? {
            Some(view) if !self.allows_server(server, view.state).await? => {
                let reason = "the room's access control list denies your server";
                Err(Error::Forbidden(reason.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the invite came before, since the answer was lost, or to be shown once more to a
    /// user who has said no.
    async fn was_told(&self, user: &UserId, invite: &Pdu) -> Result<bool, Error> {
        Ok(self.events.get_latest(invite.event_id()).await?.is_some()
            && self.store.get_latest::<UserRooms>(user, invite.room_id()).await?.is_some())
    }

    /// Gives a local user a membership in a room that this server is not in. Whoever joined it
    /// meanwhile stays in it.
    pub(crate) async fn tell_outsider(
        &self,
        pdu: &Pdu,
        version: &'static RoomVersion,
        user: &UserId,
        shown: Vec<Bytes>,
        via: Vec<OwnedServerName>,
    ) -> Result<(), Error> {
        let room = pdu.room_id();
        let membership = pdu.membership().unwrap_or(MembershipState::Leave);
        let side = SideRecord {
            room_version: version.as_str().to_owned(),
            json: pdu.json().clone(),
            status: SideStatus::Outlier,
            state_before: None,
        };
        let shows = matches!(membership, MembershipState::Invite | MembershipState::Knock);
        let via = via.iter().take(VIA_MAX).map(ToString::to_string).collect();
        let state = InviteState { events: shown, via };
        for _ in 0..ATTEMPTS {
            let before = self.store.get_latest::<UserRooms>(user, room).await?;
            if before.as_ref().is_some_and(|row| row.membership == MembershipState::Join) {
                break;
            }
            let pending = self.store.submit_with(|position| {
                let mut batch = Batch::new();
                match &before {
                    Some(row) => batch.if_equal::<UserRooms>(user, room, row),
                    None => batch.if_absent::<UserRooms>(user, room),
                };
                let record = UserRoomRecord {
                    membership: membership.clone(),
                    event_id: pdu.event_id().clone(),
                    position,
                    state: Root::EMPTY,
                    seen: before.and_then(|row| row.seen),
                    forgotten: false,
                };
                batch.put::<UserRooms>(user, room, &record);
                if shows {
                    batch.put::<InviteStates>(user, room, &state);
                } else {
                    batch.delete::<InviteStates>(user, room);
                }
                batch.derive_put::<SideEvents>(pdu.event_id(), (), &side);
                batch.fact(membership_fact(user, room, &membership, position));
                Ok::<_, CommitError>(batch)
            })?;
            match pending.await {
                Err(CommitError::Condition) => {}
                other => return Ok(other.map(drop)?),
            }
        }
        Ok(())
    }
}

fn membership_fact(
    user: &UserId,
    room: &RoomId,
    membership: &MembershipState,
    event_position: Position,
) -> Fact {
    let (room_id, membership) = (room.to_owned(), membership.clone());
    let fact = MembershipFact { room_id, membership, event_position };
    let (subject, payload) = (user.as_str().into(), fact.to_payload());
    Fact { stream: stream::MEMBERSHIP, subject, payload }
}

/// "Servers SHOULD return `M_INVALID_PARAM` if": what is shown is not of the room. A room id that
/// is the hash of a create event says nothing without that event.
fn check_shown(version: &RoomVersion, room: &RoomId, shown: &[Bytes]) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Claims<'a> {
        #[serde(borrow)]
        room_id: Option<&'a RawValue>,
        #[serde(rename = "type", borrow)]
        event_type: Option<&'a RawValue>,
    }
    let bad = |reason: &str| Err(Error::InvalidParam(reason.to_owned()));
    let mut has_create = !version.room_id_is_create_hash();
    for event in shown {
        // What is no event is not shown.
        let Ok(claims) = serde_json::from_slice::<Claims<'_>>(event) else { continue };
        let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let other = claims.room_id.is_some_and(|id| text(id).as_deref() != Some(room.as_str()));
        if other {
            return bad("what is shown of the room is of another room");
        }
        let is_create = claims.event_type.and_then(text).as_deref() == Some("m.room.create");
        if is_create && version.room_id_is_create_hash() {
            let create = Pdu::from_json(event.clone(), version).ok();
            // The id covers the hash of the content, and with it the content.
            if !create.is_some_and(|create| {
                create.room_id() == room && events::verify_content_hash(&create)
            }) {
                return bad("the create event is not the one that the room's id names");
            }
            has_create = true;
        }
    }
    if has_create { Ok(()) } else { bad("the room's create event is missing") }
}

/// What strangers say about a room is kept in bounds, and is at least an event each.
pub(crate) fn shown_state(events: Vec<Bytes>) -> Vec<Bytes> {
    #[derive(serde::Deserialize)]
    struct Shown<'a> {
        #[serde(rename = "type")]
        event_type: String,
        state_key: String,
        sender: ruma::OwnedUserId,
        #[serde(borrow)]
        content: std::collections::BTreeMap<String, &'a RawValue>,
    }
    #[derive(serde::Serialize)]
    struct Stripped<'a> {
        content: &'a std::collections::BTreeMap<String, &'a RawValue>,
        sender: &'a UserId,
        state_key: &'a str,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    let mut bytes = 0;
    events
        .iter()
        .take(SHOWN_EVENTS)
        .filter_map(|event| {
            let Shown { event_type, state_key, sender, content } =
                serde_json::from_slice(event).ok()?;
            let stripped = Stripped {
                content: &content,
                sender: &sender,
                state_key: &state_key,
                event_type: &event_type,
            };
            serde_json::to_vec(&stripped).ok().map(Bytes::from)
        })
        .take_while(|event| {
            bytes += event.len();
            bytes <= SHOWN_BYTES
        })
        .collect()
}
