//! Events as clients see them, serialised once: a thousand recipients share the bytes, and each
//! adds only what is its own.

use ruma::RoomId;

use crate::{
    Pdu, RoomVersion,
    canonical::{Object, ObjectWriter, Value, write_string},
};

/// The client form of an event, up to what differs between recipients and endpoints.
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// An object without its closing brace.
    open: Box<[u8]>,
}

impl ClientEvent {
    pub fn new(pdu: &Pdu, version: &RoomVersion) -> Self {
        let mut open = Vec::with_capacity(pdu.content_str().len() + 256);
        let mut writer = ObjectWriter::begin(&mut open);
        write_content(pdu, version, writer.key("content"));
        write_string(pdu.event_id().as_str(), writer.key("event_id"));
        let ts = Value::integer(pdu.origin_server_ts());
        ts.write(writer.key("origin_server_ts"));
        if let Some(redacts) = pdu.redacts() {
            // "For improved compatibility with older clients", also at the top in version 11 on.
            write_string(redacts.as_str(), writer.key("redacts"));
        }
        write_string(pdu.sender().as_str(), writer.key("sender"));
        if let Some(state_key) = pdu.state_key() {
            write_string(state_key, writer.key("state_key"));
        }
        write_string(pdu.event_type(), writer.key("type"));
        Self { open: open.into() }
    }

    /// Appends the event to `out`. `unsigned` is a JSON object as text.
    pub fn write(&self, out: &mut Vec<u8>, room_id: Option<&RoomId>, unsigned: Option<&[u8]>) {
        out.extend_from_slice(&self.open);
        if let Some(room_id) = room_id {
            out.extend_from_slice(br#","room_id":"#);
            write_string(room_id.as_str(), out);
        }
        if let Some(unsigned) = unsigned {
            out.extend_from_slice(br#","unsigned":"#);
            out.extend_from_slice(unsigned);
        }
        out.push(b'}');
    }
}

/// "For improved compatibility with newer clients", the target of a redaction is also in the
/// content before version 11.
fn write_content(pdu: &Pdu, version: &RoomVersion, out: &mut Vec<u8>) {
    match pdu.redacts() {
        Some(redacts) if !version.redacts_in_content() => {
            let mut content: Object<'_> = pdu.content_object();
            content.insert("redacts", Value::string(redacts.as_str()));
            content.write(out);
        }
        _ => out.extend_from_slice(pdu.content_str().as_bytes()),
    }
}

/// The stripped form of a state event: `content`, `sender`, `state_key` and `type`.
pub fn stripped(pdu: &Pdu) -> Vec<u8> {
    let mut out = Vec::with_capacity(pdu.content_str().len() + 128);
    let mut writer = ObjectWriter::begin(&mut out);
    writer.key("content").extend_from_slice(pdu.content_str().as_bytes());
    write_string(pdu.sender().as_str(), writer.key("sender"));
    write_string(pdu.state_key().unwrap_or_default(), writer.key("state_key"));
    write_string(pdu.event_type(), writer.key("type"));
    writer.end();
    out
}
