//! Rules on `m.room.create`, and what later rules ask of it.

use ruma::{OwnedUserId, UserId};

use super::{Verdict, forbidden, require};
use crate::{
    Pdu, RoomVersion,
    canonical::{Object, Value},
};

/// What a create event says to the rules.
pub(crate) struct Create<'a> {
    version: &'a RoomVersion,
    event: &'a Pdu,
    content: Object<'a>,
}

impl<'a> Create<'a> {
    pub(crate) fn read(version: &'a RoomVersion, event: &'a Pdu) -> Self {
        Self { version, event, content: event.content_object() }
    }

    /// Whether other servers may take part: unless `m.federate` is `false`.
    pub(crate) fn federates(&self) -> bool {
        self.content.get("m.federate") != Some(&Value::Bool(false))
    }

    /// The creator: of version 11 on the sender, before that whom the content names.
    pub(crate) fn creator(&self) -> Option<OwnedUserId> {
        if self.version.creator_is_sender() {
            return Some(self.event.sender().to_owned());
        }
        self.content.get("creator")?.as_str().and_then(|user| UserId::parse(user).ok())
    }

    /// The creator and, in version 12, the additional ones.
    pub(crate) fn creators(&self) -> Vec<OwnedUserId> {
        let mut creators = Vec::from_iter(self.creator());
        if self.version.additional_creators() {
            let additional = self.content.get("additional_creators").and_then(Value::as_array);
            creators.extend(additional.into_iter().flatten().filter_map(user_id));
        }
        creators
    }
}

fn user_id(value: &Value<'_>) -> Option<OwnedUserId> {
    value.as_str().and_then(|user| UserId::parse(user).ok())
}

/// Rule 1.
pub(crate) fn check_create(version: &RoomVersion, pdu: &Pdu) -> Verdict {
    require(pdu.prev_events().is_empty(), "a create event has no previous events")?;
    if version.room_id_is_create_hash() {
        require(!pdu.names_room(), "a create event of this version has no room id")?;
    } else {
        require(
            pdu.room_id().server_name() == Some(pdu.sender().server_name()),
            "the room id is not of the sender's server",
        )?;
    }
    let content = pdu.content_object();
    check_room_version(version, &content)?;
    require(
        version.creator_is_sender() || content.get("creator").is_some(),
        "the create event names no creator",
    )?;
    if version.additional_creators()
        && let Some(creators) = content.get("additional_creators")
    {
        let valid = creators.as_array().is_some_and(|all| all.iter().all(|c| user_id(c).is_some()));
        require(valid, "`additional_creators` is not an array of user ids")?;
    }
    Ok(())
}

/// "If `content.room_version` is present and is not a recognised version, reject." Recognised is
/// the one whose rules are being applied: a room has one version. Absent, it is 1.
fn check_room_version(version: &RoomVersion, content: &Object<'_>) -> Verdict {
    let claimed = match content.get("room_version") {
        None => Some("1"),
        Some(value) => value.as_str(),
    };
    match claimed.and_then(RoomVersion::parse) {
        Some(claimed) if claimed.as_str() == version.as_str() => Ok(()),
        _ => Err(forbidden("the create event is of another room version")),
    }
}
