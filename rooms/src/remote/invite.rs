//! Inviting a user of another server: that server must take the invite before it counts.

use events::{FormatError, Pdu, canonical::JsonError};
use ruma::{OwnedServerName, RoomId, UserId};

use super::join::malformed;
use crate::{
    Error, Rooms,
    content::Content,
    draft::{Relay, Says},
    ports::SendInvite,
    receive::Strictness,
};

/// Servers that the invited server is told of.
const VIA_MAX: usize = 5;

impl Rooms {
    /// Durable on return.
    pub(crate) async fn invite_remotely(
        &self,
        room: &RoomId,
        sender: &UserId,
        target: &UserId,
        content: &Content,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let server = target.server_name();
        let mut writer = inner.member_writer(room).await?;
        let view = writer.view().clone();
        let content = content.to_raw();
        let says = Says::state(sender, "m.room.member", target.as_str(), &content);
        // Not submitted: the other server has a say.
        let pdu = writer.draft(inner).append(says).await?;
        drop(writer);
        let via = view.servers.keys().take(VIA_MAX).cloned().collect::<Vec<OwnedServerName>>();
        let invite = SendInvite {
            room_version: view.version.as_str().to_owned(),
            event: pdu.json().clone(),
            stripped_state: self.describing_pdus(view.state, sender).await?,
            via,
        };
        let remote = &inner.ports.remote;
        let signed = remote.invite(server, room, pdu.event_id(), invite).await?;
        let signed = Pdu::from_json(signed, view.version).map_err(|error| match error {
            // The server is there and has an answer, which it gives again to who asks again, as some
            // clients do after a bad gateway. Synapse says `M_BAD_JSON` too.
            FormatError::Json(JsonError::NotInteger(_) | JsonError::OutOfRange(_)) => error.into(),
            other => malformed(server, &other.to_string()),
        })?;
        if signed.event_id() != pdu.event_id() {
            return Err(malformed(server, "it is not the invite that was sent"));
        }
        let checked = inner.verified(view.version, room, vec![signed.json().clone()]).await;
        let Some(Ok(signed)) = checked.into_iter().next() else {
            return Err(malformed(server, "the signatures on the invite are wrong"));
        };
        // The id does not cover all of the content.
        if signed.content_str() != pdu.content_str() {
            return Err(malformed(server, "it is not the invite that was sent"));
        }
        let by_target = inner.check_signature_of(view.version, &signed, server).await;
        by_target.map_err(|dropped| malformed(server, &dropped.reason))?;
        let signed = inner.with_recommendation(room, signed).await?;
        let taken =
            inner.take(room, signed, Vec::new(), Relay::Everybody, Strictness::Refuse).await?;
        match taken.submitted {
            Some(submitted) => submitted.durable(inner).await,
            None => Ok(()),
        }
    }
}
