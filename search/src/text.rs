//! What of an event is searched.

use rooms::StoredEvent;
use serde::Deserialize;
use serde_json::Value;

/// The keys of events that are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// `content.body` of messages.
    pub body: bool,
    /// `content.name` of rooms.
    pub name: bool,
    /// `content.topic` of rooms.
    pub topic: bool,
}

impl Keys {
    pub const ALL: Self = Self { body: true, name: true, topic: true };

    pub(crate) fn contain(self, event_type: &str) -> bool {
        match event_type {
            "m.room.message" => self.body,
            "m.room.name" => self.name,
            "m.room.topic" => self.topic,
            _ => false,
        }
    }
}

/// Whether events of this type are in the index.
pub(crate) fn is_searched(event_type: &str) -> bool {
    Keys::ALL.contain(event_type)
}

/// `None` of an event that says nothing that is searched, such as one that was redacted.
pub(crate) fn of_event(event: &StoredEvent) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        body: Option<Value>,
        name: Option<Value>,
        topic: Option<Value>,
    }
    let content: Content = event.pdu.content_as().ok()?;
    let text = match event.pdu.event_type() {
        "m.room.message" => content.body,
        "m.room.name" => content.name,
        "m.room.topic" => content.topic,
        _ => None,
    };
    match text? {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
