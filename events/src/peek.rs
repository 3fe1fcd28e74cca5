//! What a PDU says of its place before its room version is known, and with it the format.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use crate::{FormatError, canonical::JsonError, pdu::MAX_TEXT_BYTES};

/// Claims of a PDU that nothing is checked of but their grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// `None` in create events of version 12.
    pub room_id: Option<OwnedRoomId>,
    pub event_type: String,
    pub sender: OwnedUserId,
    /// Versions 1 and 2 have it in the PDU; from others it means nothing.
    pub event_id: Option<OwnedEventId>,
}

#[derive(Deserialize)]
struct Claims {
    room_id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    sender: String,
    event_id: Option<serde_json::Value>,
}

/// Reads the keys that tell where a PDU belongs; the rest may be nested as deeply as it likes. A
/// PDU that has one of them twice is refused, since another parser would see another event.
pub fn peek(json: &[u8]) -> Result<Peek, FormatError> {
    if json.len() > MAX_TEXT_BYTES {
        return Err(FormatError::TooLarge);
    }
    let claims: Claims = serde_json::from_slice(json).map_err(|error| {
        if error.is_data() {
            FormatError::Field("event")
        } else {
            JsonError::Syntax(error.column()).into()
        }
    })?;
    let room_id = claims.room_id.map(RoomId::parse).transpose();
    let event_id = claims.event_id.as_ref().and_then(serde_json::Value::as_str);
    Ok(Peek {
        room_id: room_id.map_err(|_| FormatError::Field("room_id"))?,
        sender: UserId::parse(claims.sender).map_err(|_| FormatError::Field("sender"))?,
        event_type: claims.event_type,
        event_id: event_id.and_then(|id| id.try_into().ok()),
    })
}
