//! Which state events authorise an event.

use ruma::UserId;
use serde_json::value::RawValue;

use super::{AuthError, forbidden};
use crate::{
    Pdu, RoomVersion, StateKey,
    canonical::{MAX_LEVELS, Numbers, Object, Value, parse_within},
};

/// The keys of the state events that belong into an event's `auth_events`, as far as the room has
/// them. In version 12 the create event is implied and not among them.
pub fn auth_events_for(
    version: &RoomVersion,
    event_type: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<Vec<StateKey>, AuthError> {
    let content = parse_within(content.get(), Numbers::AsText, MAX_LEVELS)
        .ok()
        .and_then(Value::into_object)
        .ok_or_else(|| forbidden("the content is not an object"))?;
    select(version, event_type, sender, state_key, &content)
}

pub(crate) fn auth_keys(version: &RoomVersion, pdu: &Pdu) -> Result<Vec<StateKey>, AuthError> {
    let content = pdu.content_object();
    select(version, pdu.event_type(), pdu.sender(), pdu.state_key(), &content)
}

fn select(
    version: &RoomVersion,
    event_type: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &Object<'_>,
) -> Result<Vec<StateKey>, AuthError> {
    // "The `auth_events` for the `m.room.create` event in a room is empty."
    if event_type == "m.room.create" {
        return Ok(Vec::new());
    }
    let mut keys = Vec::with_capacity(5);
    if !version.room_id_is_create_hash() {
        keys.push(("m.room.create".to_owned(), String::new()));
    }
    keys.push(("m.room.power_levels".to_owned(), String::new()));
    keys.push(("m.room.member".to_owned(), sender.as_str().to_owned()));
    if event_type == "m.room.member" {
        select_for_membership(version, state_key, content, &mut keys)?;
    }
    Ok(keys)
}

fn select_for_membership(
    version: &RoomVersion,
    state_key: Option<&str>,
    content: &Object<'_>,
    keys: &mut Vec<StateKey>,
) -> Result<(), AuthError> {
    let target = state_key.ok_or_else(|| forbidden("a membership event without state key"))?;
    let membership = content
        .get("membership")
        .and_then(Value::as_str)
        .ok_or_else(|| forbidden("a membership event without membership"))?;
    let mut push = |event_type: &str, state_key: &str| {
        if !keys.iter().any(|(known, key)| known == event_type && key == state_key) {
            keys.push((event_type.to_owned(), state_key.to_owned()));
        }
    };
    push("m.room.member", target);
    if matches!(membership, "join" | "invite" | "knock") {
        push("m.room.join_rules", "");
    }
    if membership == "invite"
        && let Some(invite) = content.get("third_party_invite")
    {
        push("m.room.third_party_invite", token(invite)?);
    }
    // Only a join is authorised through somebody else, though the key may stand elsewhere.
    if membership == "join"
        && version.restricted_joins()
        && let Some(user) = content.get("join_authorised_via_users_server")
    {
        let user = user.as_str().filter(|user| <&UserId>::try_from(*user).is_ok());
        let malformed = || forbidden("`join_authorised_via_users_server` is not a user id");
        push("m.room.member", user.ok_or_else(malformed)?);
    }
    Ok(())
}

fn token<'v>(invite: &'v Value<'_>) -> Result<&'v str, AuthError> {
    let signed = invite.as_object().and_then(|invite| invite.get("signed"));
    let token = signed.and_then(Value::as_object).and_then(|signed| signed.get("token"));
    token.and_then(Value::as_str).ok_or_else(|| forbidden("a third-party invite without token"))
}
