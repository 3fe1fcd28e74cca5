//! Templates that other servers hand out: `make_join`, `make_leave`, `make_knock`.
//!
//! What is built of one gets this server's signature, so it must be the event that was asked for
//! and nothing else, whatever the template says.

use ruma::{OwnedEventId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::{BuildError, EventTemplate, parse_content, sign_and_build};
use crate::{
    FormatError, Pdu, RoomVersion, SigningKey,
    canonical::{JsonError, MAX_INTEGER, MAX_LEVELS, Numbers, Object, Value, parse_within},
    format::{depth, references},
};

const AUTHORISER: &str = "join_authorised_via_users_server";

/// What was asked for, and what goes into the content.
#[derive(Clone, Copy, Debug)]
pub struct TemplateExpectation<'a> {
    pub room_id: &'a RoomId,
    /// A user of this server, whose membership is to change.
    pub user: &'a UserId,
    /// `join`, `leave` or `knock`.
    pub membership: &'a str,
    /// A JSON object that becomes the content: `displayname`, `avatar_url`, `reason` and whatever
    /// the client added. `membership` and `join_authorised_via_users_server` in it do not count.
    pub content: Option<&'a RawValue>,
}

/// Makes the membership event that a template of another server describes, signed.
///
/// "The joining server MUST verify" that type, room, sender, state key and membership are the ones
/// expected. Its place in the room (`prev_events`, `auth_events`, `depth`) and, of a join, the user
/// who authorises it are taken from the template; all else is ours.
pub fn complete_template(
    template: &RawValue,
    expected: &TemplateExpectation<'_>,
    origin_server_ts: u64,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Result<Pdu, BuildError> {
    let template = parse_within(template.get(), Numbers::AsText, MAX_LEVELS)
        .map_err(|error: JsonError| BuildError::BadJson(error.to_string()))?
        .into_object()
        .ok_or_else(|| BuildError::BadJson("the template is not an object".to_owned()))?;
    check_expected(&template, expected)?;
    let content = content(&template, expected, server_name, version)?;
    let place = Place::read(&template, version)?;
    let template = EventTemplate {
        room_id: Some(expected.room_id),
        sender: expected.user,
        event_type: "m.room.member",
        state_key: Some(expected.user.as_str()),
        content: &content,
        prev_events: &place.prev_events,
        auth_events: &place.auth_events,
        depth: place.depth,
        origin_server_ts,
        redacts: None,
    };
    sign_and_build(&template, key, server_name, version)
}

fn check_expected(
    template: &Object<'_>,
    expected: &TemplateExpectation<'_>,
) -> Result<(), BuildError> {
    let content = template.get("content").and_then(Value::as_object);
    let found = [
        ("type", template.get("type"), "m.room.member"),
        ("room_id", template.get("room_id"), expected.room_id.as_str()),
        ("sender", template.get("sender"), expected.user.as_str()),
        ("state_key", template.get("state_key"), expected.user.as_str()),
        ("membership", content.and_then(|content| content.get("membership")), expected.membership),
    ];
    match found.iter().find(|(_, found, wanted)| found.and_then(Value::as_str) != Some(*wanted)) {
        None => Ok(()),
        Some((field, ..)) => {
            Err(BuildError::Invalid(format!("`{field}` of the template is not what was asked for")))
        }
    }
}

fn content(
    template: &Object<'_>,
    expected: &TemplateExpectation<'_>,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Result<Box<RawValue>, BuildError> {
    let mut content = match expected.content {
        Some(content) => parse_content(content)?,
        None => Object::default(),
    };
    content.remove(AUTHORISER);
    content.insert("membership", Value::string(expected.membership));
    let authoriser = template
        .get("content")
        .and_then(Value::as_object)
        .and_then(|content| content.get(AUTHORISER))
        .filter(|_| version.restricted_joins() && expected.membership == "join");
    if let Some(authoriser) = authoriser {
        check_authoriser(authoriser, server_name)?;
        content.insert(AUTHORISER, authoriser.clone());
    }
    let mut bytes = Vec::with_capacity(256);
    content.write(&mut bytes);
    let text = String::from_utf8(bytes).expect("strings are written whole");
    Ok(RawValue::from_string(text).expect("what was written is JSON"))
}

/// Our signature on the join would also be that of an authoriser of ours, who was not asked.
fn check_authoriser(authoriser: &Value<'_>, server_name: &ServerName) -> Result<(), BuildError> {
    let user = authoriser.as_str().and_then(|user| <&UserId>::try_from(user).ok());
    match user {
        Some(user) if user.server_name() != server_name => Ok(()),
        _ => Err(BuildError::Invalid(format!("`{AUTHORISER}` is not a user of another server"))),
    }
}

/// Where in the room's history the event goes.
struct Place {
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    depth: u64,
}

impl Place {
    fn read(template: &Object<'_>, version: &RoomVersion) -> Result<Self, BuildError> {
        let prev_events = references(template, "prev_events", crate::MAX_PREV_EVENTS, version)?;
        if prev_events.is_empty() {
            return Err(FormatError::Field("prev_events").into());
        }
        Ok(Self {
            prev_events,
            auth_events: references(template, "auth_events", crate::MAX_AUTH_EVENTS, version)?,
            // Old rooms may be deeper than what can be sent today.
            depth: depth(template, version)?.min(MAX_INTEGER.unsigned_abs()),
        })
    }
}
