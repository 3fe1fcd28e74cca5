//! Power levels: those in force, and rule 10 on changing them.
//!
//! Reading what is in force is lenient, since a malformed entry that once got into the state must
//! not lock the room; a new event is judged by what its version allows.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{OwnedUserId, UserId};

use super::{Create, Verdict, forbidden, require};
use crate::{
    Pdu, RoomVersion,
    canonical::{Object, Value},
};

/// A power level. Creators of version 12 rooms stand above every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Int(i64),
    Infinite,
}

const FIELDS: [&str; 7] =
    ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];

fn default_of(field: &str) -> i64 {
    match field {
        "state_default" | "ban" | "redact" | "kick" => 50,
        _ => 0,
    }
}

/// The levels in force in a room.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    content: Arc<Levels>,
    creators: Vec<OwnedUserId>,
    creators_are_infinite: bool,
    from_event: bool,
}

impl PowerLevels {
    /// Of the create event, and of the `m.room.power_levels` event if the room has one.
    pub fn new(version: &RoomVersion, create: &Pdu, power_levels: Option<&Pdu>) -> Self {
        Self::read(version, Some(create), power_levels)
    }

    pub(crate) fn read(
        version: &RoomVersion,
        create: Option<&Pdu>,
        power_levels: Option<&Pdu>,
    ) -> Self {
        let creators = create.map(|create| Create::read(version, create).creators());
        let content = power_levels.map(|event| Arc::clone(event.levels(version)));
        Self {
            content: content.unwrap_or_default(),
            creators: creators.unwrap_or_default(),
            creators_are_infinite: version.creators_have_infinite_power(),
            from_event: power_levels.is_some(),
        }
    }

    /// "If the room contains no `m.room.power_levels` event, the room's creator has a power level
    /// of 100, and all other users have a power level of 0."
    pub fn for_user(&self, user: &UserId) -> Level {
        if self.creators_are_infinite && self.is_creator(user) {
            return Level::Infinite;
        }
        if !self.from_event {
            return Level::Int(if self.is_creator(user) { 100 } else { 0 });
        }
        match self.content.users.get(user.as_str()) {
            Some(level) => Level::Int(*level),
            None => self.field("users_default"),
        }
    }

    pub fn is_creator(&self, user: &UserId) -> bool {
        self.creators.iter().any(|creator| creator == user)
    }

    pub fn for_event(&self, event_type: &str, is_state: bool) -> Level {
        match self.content.events.get(event_type) {
            Some(level) => Level::Int(*level),
            None if is_state => self.field("state_default"),
            None => self.field("events_default"),
        }
    }

    pub fn ban(&self) -> Level {
        self.field("ban")
    }

    pub fn kick(&self) -> Level {
        self.field("kick")
    }

    pub fn redact(&self) -> Level {
        self.field("redact")
    }

    pub fn invite(&self) -> Level {
        self.field("invite")
    }

    /// The level to notify with `key`, such as `room` for `@room`.
    pub fn notification(&self, key: &str) -> Level {
        Level::Int(self.content.notifications.get(key).copied().unwrap_or(50))
    }

    pub fn can_send(&self, user: &UserId, event_type: &str, is_state: bool) -> bool {
        self.for_user(user) >= self.for_event(event_type, is_state)
    }

    /// Whether a redaction by `sender` takes effect on an event of `target_sender`: "The power
    /// level of the redaction event's `sender` is greater than or equal to the redact level", or
    /// both are of the same server.
    pub fn can_redact(&self, sender: &UserId, target_sender: &UserId) -> bool {
        sender.server_name() == target_sender.server_name()
            || self.for_user(sender) >= self.redact()
    }

    fn field(&self, field: &'static str) -> Level {
        let level = self.content.fields.get(field).copied();
        Level::Int(level.unwrap_or_else(|| default_of(field)))
    }
}

/// The content of an `m.room.power_levels` event, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    fields: BTreeMap<&'static str, i64>,
    users: BTreeMap<String, i64>,
    events: BTreeMap<String, i64>,
    notifications: BTreeMap<String, i64>,
    /// What could not be read of `users`.
    malformed_users: Option<String>,
    /// What could not be read of the rest.
    malformed: Option<String>,
}

impl Levels {
    pub(crate) fn read(version: &RoomVersion, content: &Object<'_>) -> Self {
        let mut levels = Self::default();
        for field in FIELDS {
            let Some(value) = content.get(field) else { continue };
            match level(version, value) {
                Some(level) => drop(levels.fields.insert(field, level)),
                None => levels.malformed = Some(format!("`{field}` is not a level")),
            }
        }
        for (map, key) in
            [(&mut levels.events, "events"), (&mut levels.notifications, "notifications")]
        {
            if let Err(reason) = read_map(version, content, key, |_| true, map) {
                levels.malformed = Some(reason);
            }
        }
        let is_user = |user: &str| <&UserId>::try_from(user).is_ok();
        levels.malformed_users =
            read_map(version, content, "users", is_user, &mut levels.users).err();
        levels
    }
}

/// Reads every entry that is well-formed, and tells whether one is not.
fn read_map(
    version: &RoomVersion,
    content: &Object<'_>,
    key: &str,
    is_key: impl Fn(&str) -> bool,
    map: &mut BTreeMap<String, i64>,
) -> Result<(), String> {
    let Some(value) = content.get(key) else { return Ok(()) };
    let entries = value.as_object().ok_or_else(|| format!("`{key}` is not an object"))?;
    let mut result = Ok(());
    for (name, value) in entries.iter() {
        match level(version, value) {
            Some(level) if is_key(name) => drop(map.insert(name.to_owned(), level)),
            _ => result = Err(format!("an entry of `{key}` is malformed")),
        }
    }
    result
}

/// A level: an integer; before version 10 also a string of one; before version 6 also any other
/// number, "truncated at the decimal point".
fn level(version: &RoomVersion, value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Number(text) => text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            // The cast truncates, and saturates what no integer holds.
            (!version.strict_json() && number.is_finite()).then_some(number as i64)
        }),
        Value::String(text) if !version.integer_power_levels() => level_of_string(text),
        _ => None,
    }
}

/// "A single base 10 integer, no float values or decimal points, optionally with any number of
/// leading zeroes; optionally prefixed with a single `-` or `+`; optionally with any number of
/// leading or trailing whitespace characters".
fn level_of_string(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bound = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(bound))
}

/// Rule 10.
pub(crate) fn check_change(version: &RoomVersion, pdu: &Pdu, current: &PowerLevels) -> Verdict {
    let new = pdu.levels(version);
    if let Some(reason) = &new.malformed_users {
        return Err(forbidden(reason));
    }
    if version.integer_power_levels()
        && let Some(reason) = &new.malformed
    {
        return Err(forbidden(reason));
    }
    if version.creators_have_infinite_power() {
        let named = current.creators.iter().any(|user| new.users.contains_key(user.as_str()));
        require(!named, "creators have no entry in `users`")?;
    }
    // "If there is no previous `m.room.power_levels` event in the room, allow."
    if !current.from_event {
        return Ok(());
    }
    // Before version 10 no rule asks for these to be levels; but what is not one has no order.
    if let Some(reason) = &new.malformed {
        return Err(forbidden(reason));
    }
    check_changed_fields(pdu, new, current)?;
    check_changed_maps(version, pdu, new, current)
}

fn check_changed_fields(pdu: &Pdu, new: &Levels, current: &PowerLevels) -> Verdict {
    let own = current.for_user(pdu.sender());
    for field in FIELDS {
        let (old, new) = (current.content.fields.get(field), new.fields.get(field));
        if old == new {
            continue;
        }
        let exceeds = |level: Option<&i64>| {
            Level::Int(level.copied().unwrap_or_else(|| default_of(field))) > own
        };
        if exceeds(old) || exceeds(new) {
            return Err(forbidden(format!(
                "the sender's power does not allow to change `{field}`"
            )));
        }
    }
    Ok(())
}

fn check_changed_maps(
    version: &RoomVersion,
    pdu: &Pdu,
    new: &Levels,
    current: &PowerLevels,
) -> Verdict {
    let own = current.for_user(pdu.sender());
    let above = |_: &str, old| old > own;
    check_map(&current.content.events, &new.events, own, above)?;
    if version.rules().authorization.limit_notifications_power_levels {
        check_map(&current.content.notifications, &new.notifications, own, above)?;
    }
    // Nobody changes the entry of an equal; one's own may be lowered.
    let equal_or_above = |user: &str, old| user != pdu.sender().as_str() && old >= own;
    check_map(&current.content.users, &new.users, own, equal_or_above)
}

/// For each entry that differs: the old value must not be `protected`, the new one not exceed the
/// sender's own level.
fn check_map(
    old: &BTreeMap<String, i64>,
    new: &BTreeMap<String, i64>,
    own: Level,
    protected: impl Fn(&str, Level) -> bool,
) -> Verdict {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let (old, new) = (old.get(key), new.get(key));
        if old == new {
            continue;
        }
        let denied = old.is_some_and(|old| protected(key, Level::Int(*old)))
            || new.is_some_and(|new| Level::Int(*new) > own);
        if denied {
            return Err(forbidden(format!("the sender's power does not allow to change `{key}`")));
        }
    }
    Ok(())
}
