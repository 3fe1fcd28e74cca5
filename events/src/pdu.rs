//! An event in its federation form.
use bytes::Bytes;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::{TimelineEventType, room::member::MembershipState}};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use crate::{FormatError, RoomVersion};
#[derive(Clone, Debug)]
pub struct Pdu { event_id: OwnedEventId, room_id: OwnedRoomId, sender: OwnedUserId, kind: TimelineEventType, json: Bytes }
impl Pdu {
    pub fn from_json(_json: Bytes, _version: &RoomVersion) -> Result<Self, FormatError> { unimplemented!() }
    pub fn event_id(&self) -> &OwnedEventId { &self.event_id }
    pub fn room_id(&self) -> &RoomId { &self.room_id }
    pub fn sender(&self) -> &UserId { &self.sender }
    pub fn event_type(&self) -> &str { unimplemented!() }
    pub fn state_key(&self) -> Option<&str> { unimplemented!() }
    pub fn is_state(&self) -> bool { unimplemented!() }
    pub fn origin_server_ts(&self) -> u64 { unimplemented!() }
    pub fn depth(&self) -> u64 { unimplemented!() }
    pub fn prev_events(&self) -> &[OwnedEventId] { unimplemented!() }
    pub fn auth_events(&self) -> &[OwnedEventId] { unimplemented!() }
    pub fn redacts(&self, _version: &RoomVersion) -> Option<&EventId> { unimplemented!() }
    pub fn content(&self) -> &RawValue { let _ = &self.kind; unimplemented!() }
    pub fn content_str(&self) -> &str { unimplemented!() }
    pub fn content_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> { unimplemented!() }
    pub fn membership(&self) -> Option<MembershipState> { unimplemented!() }
    pub fn json(&self) -> &Bytes { &self.json }
    pub fn redacted(&self, _version: &RoomVersion) -> Self { unimplemented!() }
    pub fn rejected(&self) -> bool { unimplemented!() }
    /// The same event, marked as rejected by the checks on receipt.
    pub fn into_rejected(self) -> Self { unimplemented!() }
}
/// The create event of a version 12 room, named by its room id.
pub fn room_create_event_id(_room_id: &RoomId) -> Option<OwnedEventId> { unimplemented!() }
