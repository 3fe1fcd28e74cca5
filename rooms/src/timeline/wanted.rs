//! Room event filters: which events a client asked for.

use ruma::{
    RoomId,
    api::client::filter::{RoomEventFilter, UrlFilter},
};
use serde::{Deserialize, de::IgnoredAny};

use crate::{StoredEvent, relations::relation_of};

/// Which relations events may have: in no filter of the specification yet ([MSC3874]).
///
/// [MSC3874]: https://github.com/matrix-org/matrix-spec-proposals/pull/3874
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelTypes {
    /// Only events that relate to another in one of these ways.
    pub only: Option<Vec<String>>,
    /// None that relate to another in one of these.
    pub not: Vec<String>,
}

/// A filter as it applies to one room.
pub(crate) struct Wanted<'a> {
    filter: &'a RoomEventFilter,
    room: bool,
    relations: Option<&'a RelTypes>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(filter: &'a RoomEventFilter, room: &RoomId) -> Self {
        let named = filter.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|id| id == room));
        let room = named && !filter.not_rooms.iter().any(|id| id == room);
        Self { filter, room, relations: None }
    }

    pub(crate) fn with_relations(self, relations: &'a RelTypes) -> Self {
        let relations = Some(relations).filter(|relations| **relations != RelTypes::default());
        Self { relations, ..self }
    }

    pub(crate) fn wants(&self, event: &StoredEvent) -> bool {
        self.room
            && self.wants_type(event)
            && self.wants_sender(event)
            && self.wants_url(event)
            && self.wants_relation(event)
    }

    pub(crate) fn loads_members_lazily(&self) -> bool {
        !self.filter.lazy_load_options.is_disabled()
    }

    fn wants_type(&self, event: &StoredEvent) -> bool {
        let event_type = event.pdu.event_type();
        let is_one_of = |types: &[String]| types.iter().any(|glob| matches(glob, event_type));
        self.filter.types.as_deref().is_none_or(is_one_of) && !is_one_of(&self.filter.not_types)
    }

    fn wants_sender(&self, event: &StoredEvent) -> bool {
        let sender = event.pdu.sender();
        self.filter.senders.as_ref().is_none_or(|senders| senders.iter().any(|id| id == sender))
            && !self.filter.not_senders.iter().any(|id| id == sender)
    }

    fn wants_relation(&self, event: &StoredEvent) -> bool {
        let Some(RelTypes { only, not }) = self.relations else { return true };
        let has = relation_of(event).map(|(rel_type, _)| rel_type);
        let is_of = |types: &[String]| has.as_ref().is_some_and(|has| types.contains(has));
        only.as_deref().is_none_or(is_of) && !is_of(not)
    }

    fn wants_url(&self, event: &StoredEvent) -> bool {
        match self.filter.url_filter {
            None => true,
            Some(UrlFilter::EventsWithUrl) => has_url(event),
            Some(UrlFilter::EventsWithoutUrl) => !has_url(event),
        }
    }
}

fn has_url(event: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "url")]
        _url: IgnoredAny,
    }
    event.pdu.content_as::<Content>().is_ok()
}

/// "A '*' can be used as a wildcard to match any sequence of characters."
fn matches(glob: &str, text: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else { return glob == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<_> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.reaction", false),
            ("*", "", true),
            ("*.message", "m.room.message", true),
            ("m.*.m*e", "m.room.message", true),
            ("a*a", "a", false),
            ("a*b*", "acb", true),
            ("a**c", "abc", true),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} on {text}");
        }
    }
}
