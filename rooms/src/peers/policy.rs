//! `POST /_matrix/policy/v1/sign`: another server asks whether an event is recommended.

use bytes::Bytes;
use events::{Pdu, PublicKey};
use ruma::ServerName;
use serde_json::value::RawValue;

use crate::{Error, Rooms};

/// Whether an event is recommended.
#[derive(Clone, Debug)]
pub enum PolicyAnswer {
    /// `{"<server>": {"ed25519:policy_server": "<signature>"}}`
    Signed(Box<RawValue>),
    /// And why, for whoever sent it.
    Refused(String),
}

impl Rooms {
    /// What a room's `m.room.policy` has for a key if this server is to be its policy server. `None`
    /// if it is nobody's.
    pub fn policy_key(&self) -> Option<PublicKey> {
        self.inner.policy_signer.as_ref().map(|signer| signer.public_key())
    }

    /// Judges an event of any server, which `server` need not be in the room for: a join is asked
    /// about before it happens. Only what its own server has signed is judged, since it counts among
    /// what its sender may send, and only with the content that it was signed with, since the
    /// signature that is given covers no more than the hash of that.
    pub async fn peer_policy_sign(
        &self,
        server: &ServerName,
        pdu: Bytes,
    ) -> Result<PolicyAnswer, Error> {
        let inner = &*self.inner;
        let room = events::peek(&pdu)?.room_id.ok_or(Error::NotFound("the room"))?;
        let signer = inner.policy_signer.as_ref().filter(|signer| signer.serves(&room));
        let signer = signer.ok_or(Error::NotFound("the room"))?;
        let view = inner.open_room(server, &room).await?;
        let pdu = Pdu::from_json(pdu, view.version)?;
        if pdu.event_type() == "m.room.policy" && pdu.state_key() == Some("") {
            let reason = "what says who a room's policy server is needs no recommendation";
            return Err(Error::InvalidParam(reason.to_owned()));
        }
        if !events::verify_content_hash(&pdu) {
            let reason = "the content is not the one that the event was signed with";
            return Ok(PolicyAnswer::Refused(reason.to_owned()));
        }
        let verified = inner.verified(view.version, &room, vec![pdu.json().clone()]).await.pop();
        if let Some(Err(dropped)) = verified {
            return Ok(PolicyAnswer::Refused(dropped.reason));
        }
        Ok(match signer.sign(&pdu, view.version, inner.clock.now_ms()).await {
            Ok(signature) => PolicyAnswer::Signed(inner.policy_answer(&signature)),
            Err(refusal) => {
                let (event_id, sender) = (pdu.event_id(), pdu.sender());
                tracing::debug!(%room, %event_id, %sender, %refusal, "not recommended");
                PolicyAnswer::Refused(refusal.to_string())
            }
        })
    }
}
