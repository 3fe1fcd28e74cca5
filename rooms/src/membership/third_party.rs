//! Joining by what an identity server has signed: the user was invited by another identifier, and
//! turns out to be who that belongs to.

use ruma::{UserId, events::room::member::MembershipState};
use serde_json::json;

use crate::{
    Error, JoinRequest, Rooms,
    peers::{Inviter, SignedThirdParty, ThirdPartyExchange},
    room::Writer,
    rooms::Inner,
};

impl Rooms {
    /// `third_party_signed` of a join: "the homeserver must verify that it matches a pending
    /// `m.room.third_party_invite` event in the room". The user is invited by it, and joins.
    pub async fn join_by_third_party(
        &self,
        mut request: JoinRequest<'_>,
        signed: &SignedThirdParty,
    ) -> Result<(), Error> {
        let sender = signed.sender.as_deref().and_then(|sender| UserId::parse(sender).ok());
        let sender = sender
            .ok_or_else(|| Error::BadJson("what is signed does not say who invited".to_owned()))?;
        let (room_id, target) = (request.room_id, request.user);
        if signed.mxid != target.as_str() {
            return Err(Error::Forbidden(format!("what is signed is not for {target}")));
        }
        let row = self.user_room(target, room_id).await?;
        let exchange = ThirdPartyExchange { room_id, sender: &sender, target, signed };
        match row.map(|row| row.membership) {
            Some(MembershipState::Invite | MembershipState::Join) => {}
            _ => {
                self.invite_by_third_party(exchange).await?;
                request.via.insert(0, sender.server_name().to_owned());
            }
        }
        self.join(request).await
    }

    /// A user of this server turns out to have the identifier that somebody invited. Durable on
    /// return. Who is invited already stays so.
    pub async fn invite_by_third_party(
        &self,
        exchange: ThirdPartyExchange<'_>,
    ) -> Result<(), Error> {
        if !self.inner.is_local(exchange.target) {
            let target = exchange.target;
            return Err(Error::Forbidden(format!("{target} is not a user of this server")));
        }
        if self.inner.is_resident(exchange.room_id).await? {
            self.invite_by(exchange).await
        } else {
            self.have_invited(exchange).await
        }
    }

    /// "If the invited homeserver is in the room the invite came from, it can auth the event and
    /// send it."
    async fn invite_by(&self, exchange: ThirdPartyExchange<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let ThirdPartyExchange { room_id, sender, target, .. } = exchange;
        let view = inner.view(room_id).await?.ok_or(Error::NotFound("the room"))?;
        match self.third_party_content(view.state, &exchange, Inviter::Left).await? {
            Some(content) => {
                let writer = inner.member_writer(room_id).await?;
                inner.set_member(writer, sender, target, &content).await.map(drop)
            }
            None => Ok(inner.store.barrier().wait().await?),
        }
    }

    /// The inviting server makes the invite, and hands it in here before it answers.
    async fn have_invited(&self, exchange: ThirdPartyExchange<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let ThirdPartyExchange { room_id, sender, target, signed } = exchange;
        if inner.is_local(sender) {
            return Err(Error::NotFound("the room"));
        }
        let event = json!({
            "type": "m.room.member",
            "room_id": room_id,
            "sender": sender,
            "state_key": target,
            "content": {
                "membership": "invite",
                // The room knows another name, which counts.
                "third_party_invite": { "display_name": target, "signed": signed },
            },
        });
        let event = serde_json::value::to_raw_value(&event)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let remote = &inner.ports.remote;
        Ok(remote.exchange_third_party_invite(sender.server_name(), room_id, event).await?)
    }
}

impl Inner {
    /// As [`check_invitable`](Self::check_invitable), where the inviter may have left. Whom the room
    /// has sent away invites nobody any more.
    pub(crate) async fn check_left_invitable(
        &self,
        writer: &mut Writer,
        sender: &UserId,
        target: &UserId,
    ) -> Result<(), Error> {
        let mut draft = writer.draft(self);
        let has_left = draft.membership(sender).await? == MembershipState::Leave;
        let member = draft.state("m.room.member", sender.as_str()).await?;
        if has_left && member.is_some_and(|member| member.sender() == sender) {
            return self.check_target_invitable(writer, target).await;
        }
        self.check_invitable(writer, sender, target).await
    }
}
