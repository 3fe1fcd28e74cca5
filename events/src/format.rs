//! The format of PDUs and its limits: the first of the checks on receipt. An event that fails here
//! is dropped.

use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{
    RoomVersion,
    canonical::{JsonError, MAX_INTEGER, Object, Value},
};

/// "The complete event MUST NOT be larger than 65536 bytes, when formatted with the federation
/// event format, including any signatures, and encoded as Canonical JSON."
pub const MAX_PDU_BYTES: usize = 65_536;
/// The limit of `sender`, `room_id`, `state_key`, `type` and `event_id`.
pub const MAX_ID_BYTES: usize = 255;
pub const MAX_PREV_EVENTS: usize = 20;
pub const MAX_AUTH_EVENTS: usize = 10;

/// Why bytes are no PDU of their room version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("not valid JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the event is larger than {MAX_PDU_BYTES} bytes")]
    TooLarge,
    #[error("`{0}` is longer than {MAX_ID_BYTES} bytes")]
    IdTooLong(&'static str),
    #[error("`{0}` has too many entries")]
    TooMany(&'static str),
    #[error("`{0}` is missing or malformed")]
    Field(&'static str),
}

/// The fields of a PDU that rules look at, checked.
pub(crate) struct Fields {
    /// As it stands in the PDU: absent in create events of version 12.
    pub(crate) room_id: Option<OwnedRoomId>,
    /// As it stands in the PDU: versions 1 and 2 only.
    pub(crate) event_id: Option<OwnedEventId>,
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: Box<str>,
    pub(crate) state_key: Option<Box<str>>,
    pub(crate) origin_server_ts: u64,
    pub(crate) depth: u64,
    pub(crate) prev_events: Box<[OwnedEventId]>,
    pub(crate) auth_events: Box<[OwnedEventId]>,
    pub(crate) redacts: Option<OwnedEventId>,
}

impl Fields {
    pub(crate) fn read(event: &Object<'_>, version: &RoomVersion) -> Result<Self, FormatError> {
        let event_type = required_string(event, "type", version)?;
        if event.get("content").and_then(Value::as_object).is_none() {
            return Err(FormatError::Field("content"));
        }
        let references = |field, limit| references(event, field, limit, version);
        Ok(Self {
            room_id: room_id(event, event_type, version)?,
            event_id: event_id(event, version)?,
            sender: sender(event)?,
            state_key: optional_string(event, "state_key", version)?.map(Into::into),
            origin_server_ts: integer(event, "origin_server_ts", version)?,
            depth: depth(event, version)?,
            prev_events: references("prev_events", MAX_PREV_EVENTS)?,
            auth_events: references("auth_events", MAX_AUTH_EVENTS)?,
            redacts: redacts(event, event_type, version),
            event_type: event_type.into(),
        })
    }
}

fn too_long(text: &str, version: &RoomVersion) -> bool {
    let length = if version.measures_ids_in_bytes() { text.len() } else { text.chars().count() };
    length > MAX_ID_BYTES
}

fn optional_string<'v>(
    event: &'v Object<'_>,
    field: &'static str,
    version: &RoomVersion,
) -> Result<Option<&'v str>, FormatError> {
    let Some(value) = event.get(field) else { return Ok(None) };
    let text = value.as_str().ok_or(FormatError::Field(field))?;
    if too_long(text, version) { Err(FormatError::IdTooLong(field)) } else { Ok(Some(text)) }
}

fn required_string<'v>(
    event: &'v Object<'_>,
    field: &'static str,
    version: &RoomVersion,
) -> Result<&'v str, FormatError> {
    optional_string(event, field, version)?.ok_or(FormatError::Field(field))
}

/// The text of an identifier, whose limit is in bytes in every version: its grammar is ASCII, and
/// what exceeds it could not be stored as one.
fn identifier<'v>(event: &'v Object<'_>, field: &'static str) -> Result<&'v str, FormatError> {
    let text = event.get(field).and_then(Value::as_str).ok_or(FormatError::Field(field))?;
    if text.len() > MAX_ID_BYTES { Err(FormatError::IdTooLong(field)) } else { Ok(text) }
}

fn sender(event: &Object<'_>) -> Result<OwnedUserId, FormatError> {
    UserId::parse(identifier(event, "sender")?).map_err(|_| FormatError::Field("sender"))
}

/// In version 12 a create event has no room id; whether one is there all the same is for the
/// authorisation rules.
fn room_id(
    event: &Object<'_>,
    event_type: &str,
    version: &RoomVersion,
) -> Result<Option<OwnedRoomId>, FormatError> {
    let optional = version.room_id_is_create_hash() && event_type == "m.room.create";
    if optional && event.get("room_id").is_none() {
        return Ok(None);
    }
    let room_id = RoomId::parse(identifier(event, "room_id")?);
    room_id.map(Some).map_err(|_| FormatError::Field("room_id"))
}

fn event_id(
    event: &Object<'_>,
    version: &RoomVersion,
) -> Result<Option<OwnedEventId>, FormatError> {
    if !version.event_id_in_pdu() {
        return Ok(None);
    }
    let event_id = EventId::parse(identifier(event, "event_id")?);
    event_id.map(Some).map_err(|_| FormatError::Field("event_id"))
}

/// A non-negative integer; before version 6, whatever number comes close.
fn integer(
    event: &Object<'_>,
    field: &'static str,
    version: &RoomVersion,
) -> Result<u64, FormatError> {
    let error = FormatError::Field(field);
    let Some(Value::Number(text)) = event.get(field) else { return Err(error) };
    if let Ok(number) = text.parse::<u64>() {
        return Ok(number);
    }
    match text.parse::<f64>() {
        // The cast saturates and truncates, which is what "close" means here.
        Ok(number) if !version.strict_json() && number.is_finite() && number >= 0.0 => {
            Ok(number as u64)
        }
        _ => Err(error),
    }
}

/// At most 2^53 - 1 from version 6 on; before, at most 2^63 - 1.
pub(crate) fn depth(event: &Object<'_>, version: &RoomVersion) -> Result<u64, FormatError> {
    let limit = if version.strict_json() { MAX_INTEGER } else { i64::MAX };
    let depth = integer(event, "depth", version)?;
    if depth > limit.unsigned_abs() { Err(FormatError::Field("depth")) } else { Ok(depth) }
}

pub(crate) fn references(
    event: &Object<'_>,
    field: &'static str,
    limit: usize,
    version: &RoomVersion,
) -> Result<Box<[OwnedEventId]>, FormatError> {
    let items = event.get(field).and_then(Value::as_array).ok_or(FormatError::Field(field))?;
    if items.len() > limit {
        return Err(FormatError::TooMany(field));
    }
    let reference = |item: &Value<'_>| {
        let id = if version.references_are_pairs() {
            item.as_array().and_then(|pair| pair.first()).and_then(Value::as_str)
        } else {
            item.as_str()
        };
        id.and_then(|id| EventId::parse(id).ok()).ok_or(FormatError::Field(field))
    };
    items.iter().map(reference).collect()
}

/// The target of a redaction. One that is absent or malformed redacts nothing, and is no error.
fn redacts(event: &Object<'_>, event_type: &str, version: &RoomVersion) -> Option<OwnedEventId> {
    if event_type != "m.room.redaction" {
        return None;
    }
    let holder = if version.redacts_in_content() {
        event.get("content").and_then(Value::as_object)?
    } else {
        event
    };
    EventId::parse(holder.get("redacts")?.as_str()?).ok()
}
