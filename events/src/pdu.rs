//! An event of accepted format, in its federation form: immutable bytes and the fields that rules
//! look at.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use base64::Engine as _;
use bytes::Bytes;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt,
    UserId,
    events::{TimelineEventType, room::member::MembershipState},
    state_res,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    FormatError, MAX_PDU_BYTES, RoomVersion,
    auth::Levels,
    canonical::{JsonError, MAX_LEVELS, Numbers, Object, ObjectWriter, Value, parse_within},
    format::Fields,
    hash::{BASE64, BASE64_URL, reference_hash},
    redact::write_redacted,
};

/// Text this long cannot become an event of the allowed size: an escape is at most six times as
/// long as what it stands for, and the rest is left to generous white space.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * MAX_PDU_BYTES;

/// An event of accepted format. Share it as `Arc<Pdu>`.
#[derive(Clone, Debug)]
pub struct Pdu {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    event_type: Box<str>,
    timeline_type: TimelineEventType,
    state_key: Option<Box<str>>,
    origin_server_ts: u64,
    depth: u64,
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    redacts: Option<OwnedEventId>,
    names_room: bool,
    rejected: bool,
    json: Bytes,
    content: Range<usize>,
    /// Of an `m.room.power_levels` event, once somebody asked: every event of its room is judged by them.
    levels: OnceLock<Arc<Levels>>,
}

impl Pdu {
    /// Reads a PDU as it was received, built or stored: checks its format and limits, and computes
    /// its event id. What is kept is canonical and without `unsigned`, on which senders have no
    /// say.
    pub fn from_json(json: Bytes, version: &RoomVersion) -> Result<Self, FormatError> {
        if json.len() > MAX_TEXT_BYTES {
            return Err(FormatError::TooLarge);
        }
        let text = str::from_utf8(&json).map_err(|_| JsonError::Utf8)?;
        let event = parse_within(text, version.numbers(), MAX_LEVELS)?
            .into_object()
            .ok_or(FormatError::Field("event"))?;
        let (canonical, content) = write_pdu(&event);
        if canonical.len() + unsigned_bytes(&event) > MAX_PDU_BYTES {
            return Err(FormatError::TooLarge);
        }
        let fields = Fields::read(&event, version)?;
        let event_id = match &fields.event_id {
            Some(event_id) => event_id.clone(),
            None => event_id_of(&event, version),
        };
        let json = if canonical == json { json.clone() } else { canonical.into() };
        Self::assemble(fields, event_id, json, content)
    }

    /// Reads a PDU that [`Pdu::from_json`] once accepted and named: its id is not computed again.
    pub fn from_stored(
        event_id: OwnedEventId,
        json: Bytes,
        version: &RoomVersion,
    ) -> Result<Self, FormatError> {
        let text = str::from_utf8(&json).map_err(|_| JsonError::Utf8)?;
        let event = parse_within(text, version.numbers(), MAX_LEVELS)?
            .into_object()
            .ok_or(FormatError::Field("event"))?;
        let fields = Fields::read(&event, version)?;
        let (canonical, content) = write_pdu(&event);
        let json = if canonical == json { json.clone() } else { canonical.into() };
        Self::assemble(fields, event_id, json, content)
    }

    fn assemble(
        fields: Fields,
        event_id: OwnedEventId,
        json: Bytes,
        content: Range<usize>,
    ) -> Result<Self, FormatError> {
        let names_room = fields.room_id.is_some();
        let room_id = match fields.room_id {
            Some(room_id) => room_id,
            None => room_id_of_create(&event_id).ok_or(FormatError::Field("room_id"))?,
        };
        Ok(Self {
            event_id,
            room_id,
            sender: fields.sender,
            timeline_type: TimelineEventType::from(&*fields.event_type),
            event_type: fields.event_type,
            state_key: fields.state_key,
            origin_server_ts: fields.origin_server_ts,
            depth: fields.depth,
            prev_events: fields.prev_events,
            auth_events: fields.auth_events,
            redacts: fields.redacts,
            names_room,
            rejected: false,
            json,
            content,
            levels: OnceLock::new(),
        })
    }

    pub fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    /// The room; that of a version 12 create event follows from its event id.
    pub fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// Whether the PDU has a `room_id`, as all but version 12 create events do.
    pub(crate) fn names_room(&self) -> bool {
        self.names_room
    }

    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    pub(crate) fn is_state_of(&self, event_type: &str, state_key: &str) -> bool {
        self.event_type() == event_type && self.state_key() == Some(state_key)
    }

    /// In milliseconds.
    pub fn origin_server_ts(&self) -> u64 {
        self.origin_server_ts
    }

    pub fn depth(&self) -> u64 {
        self.depth
    }

    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.prev_events
    }

    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.auth_events
    }

    /// The target, if this is a redaction that names one.
    pub fn redacts(&self) -> Option<&EventId> {
        self.redacts.as_deref()
    }

    /// The content as JSON text, canonical.
    pub fn content_str(&self) -> &str {
        // The rest need not be gone through again.
        let content = &self.json[self.content.clone()];
        str::from_utf8(content).expect("the event was read from text")
    }

    pub fn content(&self) -> &RawValue {
        serde_json::from_str(self.content_str()).expect("the content was parsed, then written")
    }

    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.content_str())
    }

    /// The content for rules, which look at single keys and must not fail on the others.
    pub(crate) fn content_object(&self) -> Object<'_> {
        parse_within(self.content_str(), Numbers::AsText, MAX_LEVELS)
            .ok()
            .and_then(Value::into_object)
            .expect("the content was parsed as an object, then written")
    }

    /// The membership that an `m.room.member` state event gives.
    pub fn membership(&self) -> Option<MembershipState> {
        if &*self.event_type != "m.room.member" || self.state_key.is_none() {
            return None;
        }
        let content = self.content_object();
        content.get("membership").and_then(Value::as_str).map(MembershipState::from)
    }

    /// The canonical PDU, signatures included; no `event_id` from version 3 on, no `unsigned`.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The same event, stripped to what its room version protects; its id stays.
    pub fn redacted(&self, version: &RoomVersion) -> Self {
        let event = self.to_object();
        let mut bytes = Vec::with_capacity(self.json.len());
        write_redacted(&event, version, &[], &mut bytes);
        let text = str::from_utf8(&bytes).expect("strings are written whole");
        let event = parse_object(text);
        let (json, content) = write_pdu(&event);
        let redacts = Fields::read(&event, version).ok().and_then(|fields| fields.redacts);
        let levels = OnceLock::new();
        Self { json: json.into(), content, redacts, levels, ..self.clone() }
    }

    /// Whether the event failed the authorisation rules on receipt.
    pub fn rejected(&self) -> bool {
        self.rejected
    }

    /// The same event, marked as rejected. The mark is the receiver's knowledge, no part of the
    /// event.
    pub fn into_rejected(self) -> Self {
        Self { rejected: true, ..self }
    }

    /// The content as that of an `m.room.power_levels` event of its room, read once.
    pub(crate) fn levels(&self, version: &RoomVersion) -> &Arc<Levels> {
        self.levels.get_or_init(|| Arc::new(Levels::read(version, &self.content_object())))
    }

    pub(crate) fn to_object(&self) -> Object<'_> {
        parse_object(self.text())
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.json).expect("the event was read from text")
    }
}

impl state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.names_room.then_some(&self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::try_from(self.origin_server_ts).unwrap_or(UInt::MAX))
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.timeline_type
    }

    fn content(&self) -> &RawValue {
        self.content()
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// The create event of a version 12 room, named by its room id.
pub fn room_create_event_id(room_id: &RoomId) -> Option<OwnedEventId> {
    EventId::parse(format!("${}", room_id.as_str().strip_prefix('!')?)).ok()
}

fn room_id_of_create(event_id: &EventId) -> Option<OwnedRoomId> {
    RoomId::parse(format!("!{}", event_id.as_str().strip_prefix('$')?)).ok()
}

pub(crate) fn event_id_of(event: &Object<'_>, version: &RoomVersion) -> OwnedEventId {
    let alphabet = if version.event_id_is_standard_base64() { BASE64 } else { BASE64_URL };
    let hash = alphabet.encode(reference_hash(event, version));
    EventId::parse(format!("${hash}")).expect("a hash behind its sigil is an event id")
}

fn parse_object(text: &str) -> Object<'_> {
    parse_within(text, Numbers::AsText, MAX_LEVELS)
        .ok()
        .and_then(Value::into_object)
        .expect("a PDU's text was written from a parsed object")
}

/// The canonical event without `unsigned`, and where in it the content stands.
fn write_pdu(event: &Object<'_>) -> (Vec<u8>, Range<usize>) {
    let mut bytes = Vec::with_capacity(1024);
    let mut content = 0..0;
    let mut writer = ObjectWriter::begin(&mut bytes);
    for (key, value) in event.iter().filter(|(key, _)| *key != "unsigned") {
        let out = writer.key(key);
        let start = out.len();
        value.write(out);
        if key == "content" {
            content = start..out.len();
        }
    }
    writer.end();
    (bytes, content)
}

/// What `unsigned` adds to the size of the event that was sent.
fn unsigned_bytes(event: &Object<'_>) -> usize {
    event.get("unsigned").map_or(0, |unsigned| {
        let mut bytes = br#","unsigned":"#.to_vec();
        unsigned.write(&mut bytes);
        bytes.len()
    })
}
