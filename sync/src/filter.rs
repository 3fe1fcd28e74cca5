//! Filters: parsed and checked once, then asked per event.
//!
//! Stricter than serde alone where the specification lets a client be told about its mistake
//! (identifiers, types), and bounded where it leaves the size to us.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;

use crate::json::content_has_url;

/// Timeline events per room when the filter does not say.
const DEFAULT_TIMELINE_LIMIT: usize = 10;
/// Timeline events per room at most, whatever the filter says.
const MAX_TIMELINE_LIMIT: usize = 500;
/// Entries of one list of a filter.
const MAX_ENTRIES: usize = 1000;

/// The filter is not valid.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("the filter is not valid: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the filter has a list of more than {MAX_ENTRIES} entries")]
    TooLong,
}

/// What a client wants to be told.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub presence: EventFilter,
    pub account_data: EventFilter,
    pub room_account_data: EventFilter,
    pub ephemeral: EventFilter,
    pub state: EventFilter,
    pub timeline: EventFilter,
    rooms: RoomLists,
    pub include_leave: bool,
    pub lazy_members: LazyMembers,
    pub unread_thread_notifications: bool,
    /// Events in the form of the server-server API instead of the client form.
    pub federation_format: bool,
}

/// How membership events are left out of `state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LazyMembers {
    #[default]
    Off,
    /// Only those of senders in the timeline, and not again those the device has.
    Once,
    /// Only those of senders in the timeline, every time.
    Redundant,
}

/// One of the event filters of a [`Filter`].
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    limit: Option<usize>,
    types: Option<Vec<Glob>>,
    not_types: Vec<Glob>,
    senders: Option<Vec<OwnedUserId>>,
    not_senders: Vec<OwnedUserId>,
    rooms: RoomLists,
    contains_url: Option<bool>,
}

#[derive(Clone, Debug, Default)]
struct RoomLists {
    rooms: Option<Vec<OwnedRoomId>>,
    not_rooms: Vec<OwnedRoomId>,
}

impl RoomLists {
    fn allow(&self, room_id: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|room| room == room_id))
            && !self.not_rooms.iter().any(|room| room == room_id)
    }
}

impl Filter {
    /// Reads a filter as it stands in `?filter={…}` or in `POST /user/{userId}/filter`.
    pub fn parse(json: &str) -> Result<Self, FilterError> {
        serde_json::from_str::<Json<Definition>>(json)?.0.compile()
    }

    /// Whether anything of the room is wanted.
    pub fn wants_room(&self, room_id: &RoomId) -> bool {
        self.rooms.allow(room_id)
    }
}

impl EventFilter {
    pub fn timeline_limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_TIMELINE_LIMIT).min(MAX_TIMELINE_LIMIT)
    }

    pub fn wants_room(&self, room_id: &RoomId) -> bool {
        self.rooms.allow(room_id)
    }

    pub fn wants_type(&self, event_type: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|glob| glob.matches(event_type)))
            && !self.not_types.iter().any(|glob| glob.matches(event_type))
    }

    pub fn wants_sender(&self, sender: &UserId) -> bool {
        self.senders.as_ref().is_none_or(|senders| senders.iter().any(|user| user == sender))
            && !self.not_senders.iter().any(|user| user == sender)
    }

    /// `content` is the event's `content`, as JSON text; few filters ask for it.
    pub fn wants<'a>(
        &self,
        event_type: &str,
        sender: &UserId,
        content: impl FnOnce() -> &'a str,
    ) -> bool {
        self.wants_type(event_type)
            && self.wants_sender(sender)
            && self.contains_url.is_none_or(|wanted| content_has_url(content()) == wanted)
    }

    /// Whether no event of any type can pass.
    pub fn wants_nothing(&self) -> bool {
        self.types.as_ref().is_some_and(Vec::is_empty)
            || self.not_types.iter().any(Glob::is_everything)
            || self.senders.as_ref().is_some_and(Vec::is_empty)
    }
}

/// A type with `*` for any sequence of characters.
#[derive(Clone, Debug)]
struct Glob(String);

impl Glob {
    fn is_everything(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte == b'*')
    }

    /// Greedy with one point to come back to, so the time is at most quadratic.
    fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&byte) if byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        p = at + 1;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

/// A JSON object as a struct. Serde alone would take an array of the fields as well.
#[derive(Default)]
struct Json<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        if !json.get().starts_with('{') {
            return Err(D::Error::custom("an object is expected"));
        }
        serde_json::from_str(json.get()).map(Self).map_err(D::Error::custom)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Definition {
    #[serde(rename = "event_fields")]
    _event_fields: Option<Vec<String>>,
    event_format: Option<EventFormat>,
    presence: Option<Json<Section>>,
    account_data: Option<Json<Section>>,
    room: Option<Json<RoomSection>>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum EventFormat {
    Client,
    Federation,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoomSection {
    rooms: Option<Vec<OwnedRoomId>>,
    not_rooms: Option<Vec<OwnedRoomId>>,
    include_leave: Option<bool>,
    account_data: Option<Json<Section>>,
    ephemeral: Option<Json<Section>>,
    state: Option<Json<Section>>,
    timeline: Option<Json<Section>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    #[serde(deserialize_with = "limit")]
    limit: Option<usize>,
    types: Option<Vec<String>>,
    not_types: Option<Vec<String>>,
    senders: Option<Vec<OwnedUserId>>,
    not_senders: Option<Vec<OwnedUserId>>,
    rooms: Option<Vec<OwnedRoomId>>,
    not_rooms: Option<Vec<OwnedRoomId>>,
    contains_url: Option<bool>,
    lazy_load_members: Option<bool>,
    include_redundant_members: Option<bool>,
    unread_thread_notifications: Option<bool>,
}

/// A count of any size that JSON can hold; deployed clients send whole floats too.
fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    match number.as_u64() {
        Some(limit) => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
        None => Err(D::Error::custom("'limit' must be a whole number that is not negative")),
    }
}

impl Definition {
    fn compile(self) -> Result<Filter, FilterError> {
        let room = self.room.unwrap_or_default().0;
        let state = room.state.unwrap_or_default().0;
        let timeline = room.timeline.unwrap_or_default().0;
        let lazy_members = match (state.lazy_load_members, state.include_redundant_members) {
            (Some(true), Some(true)) => LazyMembers::Redundant,
            (Some(true), _) => LazyMembers::Once,
            _ => LazyMembers::Off,
        };
        Ok(Filter {
            presence: self.presence.unwrap_or_default().0.compile()?,
            account_data: self.account_data.unwrap_or_default().0.compile()?,
            room_account_data: room.account_data.unwrap_or_default().0.compile()?,
            ephemeral: room.ephemeral.unwrap_or_default().0.compile()?,
            unread_thread_notifications: timeline.unread_thread_notifications == Some(true),
            state: state.compile()?,
            timeline: timeline.compile()?,
            rooms: RoomLists {
                rooms: room.rooms.map(bounded).transpose()?,
                not_rooms: bounded(room.not_rooms.unwrap_or_default())?,
            },
            include_leave: room.include_leave == Some(true),
            lazy_members,
            federation_format: self.event_format == Some(EventFormat::Federation),
        })
    }
}

impl Section {
    fn compile(self) -> Result<EventFilter, FilterError> {
        let globs = |types: Vec<String>| types.into_iter().map(Glob).collect();
        Ok(EventFilter {
            limit: self.limit,
            types: self.types.map(bounded).transpose()?.map(globs),
            not_types: globs(bounded(self.not_types.unwrap_or_default())?),
            senders: self.senders.map(bounded).transpose()?,
            not_senders: bounded(self.not_senders.unwrap_or_default())?,
            rooms: RoomLists {
                rooms: self.rooms.map(bounded).transpose()?,
                not_rooms: bounded(self.not_rooms.unwrap_or_default())?,
            },
            contains_url: self.contains_url,
        })
    }
}

fn bounded<T>(list: Vec<T>) -> Result<Vec<T>, FilterError> {
    if list.len() > MAX_ENTRIES { Err(FilterError::TooLong) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};

    use super::{Filter, Glob, LazyMembers};

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.*", "m.room.message", true),
            ("*", "", true),
            ("m.*.message", "m.room.message", true),
            ("*.message", "m.room.message", true),
            ("m.*x*e", "m.room.message", false),
            ("m.room.*", "m.room", false),
            ("", "", true),
            ("", "a", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(Glob(pattern.to_owned()).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_filter_with_a_wrong_type_is_refused() {
        for json in [
            "",
            "[]",
            "{",
            r#"{"room":1}"#,
            r#"{"room":[]}"#,
            r#"{"presence":[10]}"#,
            r#"{"room":{"timeline":{"limit":-1}}}"#,
            r#"{"room":{"timeline":{"limit":"10"}}}"#,
            r#"{"room":{"timeline":{"limit":1.5}}}"#,
            r#"{"room":{"state":{"lazy_load_members":"yes"}}}"#,
            r#"{"room":{"rooms":["not a room"]}}"#,
            r#"{"presence":{"senders":["not a user"]}}"#,
            r#"{"presence":{"types":[1]}}"#,
            r#"{"presence":{"types":"m.presence"}}"#,
            r#"{"event_format":"xml"}"#,
            r#"{"event_fields":"content"}"#,
        ] {
            assert!(Filter::parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let filter = Filter::parse(
            r#"{"room":{"rooms":["!a:x","!b:x"],"not_rooms":["!b:x"],"timeline":{"limit":0,
            "types":["m.*"],"not_types":["m.b"],"senders":["@a:x"],"not_senders":[],
            "contains_url":true}, "state":{"lazy_load_members":true}},"unknown":{}}"#,
        )
        .expect("valid");
        assert!(filter.wants_room(room_id!("!a:x")));
        assert!(!filter.wants_room(room_id!("!b:x")));
        assert!(!filter.wants_room(room_id!("!c:x")));
        let (timeline, sender) = (&filter.timeline, user_id!("@a:x"));
        assert_eq!(timeline.timeline_limit(), 0);
        assert!(timeline.wants("m.a", sender, || r#"{"url":"mxc://a/b"}"#));
        assert!(!timeline.wants("m.a", sender, || r#"{"info":{"url":"mxc://a/b"}}"#));
        assert!(!timeline.wants("m.b", sender, || r#"{"url":"mxc://a/b"}"#));
        assert!(!timeline.wants("m.a", user_id!("@b:x"), || r#"{"url":"mxc://a/b"}"#));
        assert_eq!(filter.lazy_members, LazyMembers::Once);
    }

    #[test]
    fn what_wants_nothing() {
        let nothing = |json: &str| Filter::parse(json).expect("valid").presence.wants_nothing();
        assert!(nothing(r#"{"presence":{"not_types":["*"]}}"#));
        assert!(nothing(r#"{"presence":{"types":[]}}"#));
        assert!(nothing(r#"{"presence":{"senders":[]}}"#));
        assert!(!nothing(r#"{"presence":{"types":["*"]}}"#));
        assert!(!nothing("{}"));
    }
}
