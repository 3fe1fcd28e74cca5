//! Events as clients see them, serialised once.
use ruma::RoomId;
use crate::{Pdu, RoomVersion};
#[derive(Clone, Debug)]
pub struct ClientEvent;
impl ClientEvent {
    pub fn new(_pdu: &Pdu, _version: &RoomVersion) -> Self { unimplemented!() }
    /// Appends the event; `unsigned` is a JSON object.
    pub fn write(&self, _out: &mut Vec<u8>, _room_id: Option<&RoomId>, _unsigned: Option<&[u8]>) { unimplemented!() }
}
/// Stripped state event.
pub fn stripped(_pdu: &Pdu) -> Vec<u8> { unimplemented!() }
