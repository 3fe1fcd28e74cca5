//! Step 1: "Is a valid event, otherwise it is dropped." And it is one of the room it came for.

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use ruma::RoomId;

use super::Dropped;

pub(super) fn check(json: Bytes, room: &RoomId, version: &RoomVersion) -> Result<Pdu, Dropped> {
    let pdu = Pdu::from_json(json, version).map_err(|error| Dropped {
        event_id: None,
        reason: error.to_string(),
        copy_at: None,
    })?;
    if pdu.room_id() != room {
        let reason = "the event is one of another room".to_owned();
        let event_id = Some(pdu.event_id().clone());
        return Err(Dropped { event_id, reason, copy_at: None });
    }
    Ok(pdu)
}
