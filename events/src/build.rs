//! Making events: content hash, event id and signature, within the limits.

mod template;

use base64::Engine as _;
use bytes::Bytes;
use ruma::{EventId, OwnedEventId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use crate::{
    FormatError, MAX_ID_BYTES, Pdu, RoomVersion, SigningKey,
    canonical::{JsonError, MAX_INTEGER, MAX_LEVELS, Numbers, Object, Value, parse_within},
    hash::{BASE64, BASE64_URL, content_hash},
    sign::sign_event,
};

pub use self::template::{TemplateExpectation, complete_template};

/// What a new event says; hashes, signature and event id are added by [`sign_and_build`].
#[derive(Clone, Copy, Debug)]
pub struct EventTemplate<'a> {
    /// `None` only for the create event of a version 12 room.
    pub room_id: Option<&'a RoomId>,
    pub sender: &'a UserId,
    pub event_type: &'a str,
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub prev_events: &'a [OwnedEventId],
    pub auth_events: &'a [OwnedEventId],
    pub depth: u64,
    /// In milliseconds.
    pub origin_server_ts: u64,
    /// The event to redact; written to the top level or into the content, as the version has it.
    pub redacts: Option<&'a EventId>,
}

/// Why no event can be made of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The event, or one of its identifiers, exceeds its limit.
    #[error("{0}")]
    TooLarge(String),
    /// The content is no object of canonical JSON.
    #[error("{0}")]
    BadJson(String),
    /// The template is not one for this room version.
    #[error("{0}")]
    Invalid(String),
}

impl From<FormatError> for BuildError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Json(_) => Self::BadJson(error.to_string()),
            FormatError::TooLarge | FormatError::IdTooLong(_) => Self::TooLarge(error.to_string()),
            FormatError::TooMany(_) | FormatError::Field(_) => Self::Invalid(error.to_string()),
        }
    }
}

/// Hashes, signs and names the event that `template` describes.
///
/// What is built here is canonical in every room version: servers must cope with other JSON before
/// version 6, but nobody has to send it.
pub fn sign_and_build(
    template: &EventTemplate<'_>,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Result<Pdu, BuildError> {
    check_lengths(template)?;
    let mut event = draft(template, version)?;
    let hash = content_hash(&event);
    let event_id = format!("${}:{server_name}", BASE64_URL.encode(&hash[..18]));
    let hash = if version.event_id_in_pdu() {
        // Any unique id would do; this one needs no randomness, since the content hash covers the
        // event's place in the room. The hash proper then covers the id.
        event.insert("event_id", Value::string(&event_id));
        content_hash(&event)
    } else {
        hash
    };
    let hash = BASE64.encode(hash);
    let hashes = Object::from_entries(vec![("sha256".into(), Value::string(&hash))]);
    event.insert("hashes", Value::Object(hashes));
    let bytes = sign_event(&event, key, server_name, version);
    Ok(Pdu::from_json(Bytes::from(bytes), version)?)
}

/// In bytes for every version: what we send, everybody must accept.
fn check_lengths(template: &EventTemplate<'_>) -> Result<(), BuildError> {
    let too_long = |text: &str| text.len() > MAX_ID_BYTES;
    if too_long(template.event_type) {
        return Err(FormatError::IdTooLong("type").into());
    }
    if template.state_key.is_some_and(too_long) {
        return Err(FormatError::IdTooLong("state_key").into());
    }
    let limit = MAX_INTEGER.unsigned_abs();
    if template.depth > limit || template.origin_server_ts > limit {
        return Err(BuildError::Invalid("`depth` or `origin_server_ts` is out of range".into()));
    }
    Ok(())
}

fn draft<'a>(
    template: &EventTemplate<'a>,
    version: &RoomVersion,
) -> Result<Object<'a>, BuildError> {
    let mut event = Object::default();
    let mut content = parse_content(template.content)?;
    if let Some(redacts) = template.redacts {
        let redacts = Value::string(redacts.as_str());
        if version.redacts_in_content() {
            content.insert("redacts", redacts);
        } else {
            event.insert("redacts", redacts);
        }
    }
    if let Some(room_id) = template.room_id {
        event.insert("room_id", Value::string(room_id.as_str()));
    }
    if let Some(state_key) = template.state_key {
        event.insert("state_key", Value::string(state_key));
    }
    event.insert("auth_events", references(template.auth_events, version));
    event.insert("content", Value::Object(content));
    event.insert("depth", Value::integer(template.depth));
    event.insert("origin_server_ts", Value::integer(template.origin_server_ts));
    event.insert("prev_events", references(template.prev_events, version));
    event.insert("sender", Value::string(template.sender.as_str()));
    event.insert("type", Value::string(template.event_type));
    Ok(event)
}

fn parse_content(content: &RawValue) -> Result<Object<'_>, BuildError> {
    // The event's own braces are one level.
    let bad_json = |error: JsonError| BuildError::BadJson(error.to_string());
    parse_within(content.get(), Numbers::Strict, MAX_LEVELS - 1)
        .map_err(bad_json)?
        .into_object()
        .ok_or_else(|| BuildError::BadJson("the content is not an object".to_owned()))
}

/// In versions 1 and 2 a reference also has room for hashes, which nobody checks.
fn references<'a>(ids: &'a [OwnedEventId], version: &RoomVersion) -> Value<'a> {
    let reference = |id: &'a OwnedEventId| {
        let id = Value::string(id.as_str());
        if version.references_are_pairs() {
            Value::Array(vec![id, Value::Object(Object::default())])
        } else {
            id
        }
    };
    Value::Array(ids.iter().map(reference).collect())
}
