//! Rejecting an invite, or taking a knock back, in a room of other servers: `make_leave`,
//! `send_leave`.

use std::sync::Arc;

use events::{EventTemplate, Pdu, RoomVersion};
use ruma::{RoomId, UserId};
use serde_json::value::RawValue;

use crate::{
    Error, Profile, StoredEvent, membership::member_content, ports::Handshake, rooms::Inner,
};

impl Inner {
    /// `member` is the invite or the knock. If no server answers, the user is rid of it all the
    /// same; the others will not know.
    pub(crate) async fn leave_remotely(
        &self,
        room: &RoomId,
        user: &UserId,
        member: Arc<StoredEvent>,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let content = member_content("leave", &Profile::default(), reason).to_raw();
        let remote = &self.ports.remote;
        for server in self.candidates(room, user, &[]).await? {
            let sent = async {
                let (pdu, version) =
                    self.made(&server, Handshake::Leave, room, user, &content).await?;
                let json = pdu.json().clone();
                remote.send_leave(&server, room, pdu.event_id(), json).await?;
                Ok::<_, Error>((pdu, version))
            };
            match sent.await {
                Ok((pdu, version)) => {
                    return self.tell_outsider(&pdu, version, user, Vec::new(), Vec::new()).await;
                }
                Err(error) => tracing::debug!(%error, %room, "this server did not take the leave"),
            }
        }
        let pdu = self.leave_of_our_own(&member, user, &content)?;
        self.tell_outsider(&pdu, member.version, user, Vec::new(), Vec::new()).await
    }

    /// An event that nobody else will see, for the user's own clients.
    fn leave_of_our_own(
        &self,
        member: &StoredEvent,
        user: &UserId,
        content: &RawValue,
    ) -> Result<Pdu, Error> {
        let version: &'static RoomVersion = member.version;
        let before = [member.event_id().clone()];
        let template = EventTemplate {
            room_id: Some(member.pdu.room_id()),
            sender: user,
            event_type: "m.room.member",
            state_key: Some(user.as_str()),
            content,
            prev_events: &before,
            auth_events: &before,
            depth: member.pdu.depth().saturating_add(1).min(crate::draft::MAX_DEPTH),
            origin_server_ts: self.clock.now_ms(),
            redacts: None,
        };
        Ok(events::sign_and_build(&template, &self.key, &self.server_name, version)?)
    }
}
