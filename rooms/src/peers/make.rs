//! Templates for users of other servers: `GET /make_join`, `/make_leave`, `/make_knock`.

use ruma::{RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use crate::{Error, Rooms, draft::Says, membership::member_content, ports::Handshake};

/// An event for the other server to sign.
#[derive(Clone, Debug)]
pub struct Made {
    pub room_version: &'static str,
    /// Without hashes and signatures.
    pub event: Box<RawValue>,
}

impl Rooms {
    /// `versions`: those that the other server knows.
    pub async fn peer_make(
        &self,
        server: &ServerName,
        handshake: Handshake,
        room: &RoomId,
        user: &UserId,
        versions: &[String],
    ) -> Result<Made, Error> {
        let inner = &*self.inner;
        if user.server_name() != server {
            return Err(Error::Forbidden(format!("{user} is not a user of your server")));
        }
        let view = inner.open_room(server, room).await?;
        let room_version = view.version.as_str();
        let knows = versions.iter().any(|version| version == room_version);
        if handshake != Handshake::Leave && !knows {
            return Err(Error::IncompatibleRoomVersion(room_version.to_owned()));
        }
        let mut writer = inner.writer(room).await?.ok_or(Error::NotFound("the room"))?;
        let membership = match handshake {
            Handshake::Join => "join",
            Handshake::Leave => "leave",
            Handshake::Knock => "knock",
        };
        let mut content = member_content(membership, &Default::default(), None);
        if handshake == Handshake::Join {
            inner.authorise_join(&mut writer, user, &mut content).await?;
        }
        let content = content.to_raw();
        let says = Says::state(user, "m.room.member", user.as_str(), &content);
        // Built to be judged, and thrown away: what the other server gets is not signed.
        let pdu = writer.draft(inner).append(says).await?;
        drop(writer);
        // What it goes on from must not be lost once another server has heard of it.
        inner.store.barrier().wait().await?;
        Ok(Made { room_version, event: without_proof(pdu.json())? })
    }
}

fn without_proof(pdu: &[u8]) -> Result<Box<RawValue>, Error> {
    let mut event: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_slice(pdu)
        .map_err(|error| Error::Internal(format!("an event of ours cannot be read: {error}")))?;
    for key in ["hashes", "signatures", "event_id"] {
        event.remove(key);
    }
    serde_json::value::to_raw_value(&event)
        .map_err(|error| Error::Internal(format!("a template cannot be written: {error}")))
}
