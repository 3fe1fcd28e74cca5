//! Policy servers: `m.room.policy`, and the signature that recommends an event for a room.

use bytes::Bytes;
use ruma::{OwnedServerName, ServerName};
use serde_json::value::RawValue;

use super::{
    PublicKey, SigningKey,
    event::{message_to_sign, signatures_of, with_signature},
};
use crate::{
    Pdu, RoomVersion,
    canonical::{MAX_LEVELS, Numbers, Value, parse_within},
};

/// "The Key ID for the `ed25519` key in `m.room.policy` is *always* `ed25519:policy_server`."
pub(super) const POLICY_KEY_ID: &str = "ed25519:policy_server";

/// The policy server of a room, if one of its users is in the room; that is for the caller to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    via: OwnedServerName,
    key: PublicKey,
}

impl PolicyServer {
    /// From the content of the `m.room.policy` event with an empty state key in the current state.
    /// `None` if it is not valid, and the room so has no policy server.
    pub fn parse(content: &str) -> Option<Self> {
        let content = parse_within(content, Numbers::AsText, MAX_LEVELS).ok()?.into_object()?;
        let key = content.get("public_keys")?.as_object()?.get("ed25519")?.as_str()?;
        Some(Self {
            via: ServerName::parse(content.get("via")?.as_str()?).ok()?,
            key: PublicKey::from_base64(key).ok()?,
        })
    }

    pub fn via(&self) -> &ServerName {
        &self.via
    }

    /// Whether a room with this policy server takes the event in without asking for a signature:
    /// it has one, or is the one event that needs none.
    pub fn recommends(&self, pdu: &Pdu, version: &RoomVersion) -> bool {
        if pdu.is_state_of("m.room.policy", "") {
            return true;
        }
        let event = pdu.to_object();
        let signature = signatures_of(&event, self.via.as_str())
            .and_then(|signatures| signatures.get(POLICY_KEY_ID))
            .and_then(Value::as_str);
        signature.is_some_and(|signature| {
            self.key.verifies(&message_to_sign(&event, version), signature)
        })
    }

    /// The event with the signature that the policy server answered with (`POST /sign`:
    /// `{"<via>": {"ed25519:policy_server": "..."}}`), if it is right.
    pub fn add_answer(&self, pdu: &Pdu, answer: &RawValue, version: &RoomVersion) -> Option<Pdu> {
        let answer = parse_within(answer.get(), Numbers::AsText, MAX_LEVELS).ok()?.into_object()?;
        let signature = answer.get(self.via.as_str())?.as_object()?.get(POLICY_KEY_ID)?.as_str()?;
        let bytes = with_signature(&pdu.to_object(), &self.via, POLICY_KEY_ID, signature);
        let signed = Pdu::from_json(Bytes::from(bytes), version).ok()?;
        self.recommends(&signed, version).then_some(signed)
    }
}

/// The signature by which a policy server recommends an event, in base64. `key` is the one whose
/// public half stands in the room's `m.room.policy`, and not the one that the server signs its
/// events with.
pub fn policy_signature(pdu: &Pdu, key: &SigningKey, version: &RoomVersion) -> String {
    key.sign(&message_to_sign(&pdu.to_object(), version))
}
