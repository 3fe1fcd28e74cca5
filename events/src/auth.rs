//! The authorisation rules: may this event happen, given that state?
//!
//! [`check_state_independent`] is asked once, on receipt; [`check_auth`] against each state that
//! matters: the one the event's auth events make, the one before the event, the current one. Rule
//! numbers in comments are those of version 12 unless they say otherwise.

mod create;
mod membership;
mod power_levels;
mod selection;
mod third_party;

use std::{collections::HashSet, sync::Arc};

use ruma::{EventId, OwnedEventId, UserId};

pub(crate) use self::{create::Create, power_levels::Levels, selection::auth_keys};
pub use self::{
    power_levels::{Level, PowerLevels},
    selection::auth_events_for,
};
use crate::{Pdu, RoomVersion, pdu::room_create_event_id};

/// Why an event is not authorised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// An event that a rule has to look at was not handed in: no verdict.
    #[error("auth event {0} is not known")]
    MissingEvent(OwnedEventId),
    /// The rules reject the event, for this reason.
    #[error("{0}")]
    Forbidden(String),
}

/// A verdict of the rules.
pub(crate) type Verdict = Result<(), AuthError>;

pub(crate) fn forbidden(reason: impl Into<String>) -> AuthError {
    AuthError::Forbidden(reason.into())
}

fn require(condition: bool, reason: &str) -> Verdict {
    if condition { Ok(()) } else { Err(forbidden(reason)) }
}

/// The state that rules are applied to.
pub(crate) trait AuthState {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>>;

    /// The power levels in force. One that is asked often may keep them.
    fn power_levels(&self, version: &RoomVersion, create: &Pdu) -> Arc<PowerLevels> {
        let event = self.get("m.room.power_levels", "");
        Arc::new(PowerLevels::new(version, create, event.as_deref()))
    }

    /// "If the user has no membership event, their membership is `leave`".
    fn membership(&self, user: &UserId) -> Membership {
        self.get("m.room.member", user.as_str())
            .and_then(|event| Membership::of(&event))
            .unwrap_or(Membership::Leave)
    }
}

struct FetchState<F>(F);

impl<F: Fn(&str, &str) -> Option<Arc<Pdu>>> AuthState for FetchState<F> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        (self.0)(event_type, state_key)
    }
}

/// The memberships that rules know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    Join,
    Invite,
    Leave,
    Ban,
    Knock,
}

impl Membership {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "leave" => Self::Leave,
            "ban" => Self::Ban,
            "knock" => Self::Knock,
            _ => return None,
        })
    }

    pub(crate) fn of(pdu: &Pdu) -> Option<Self> {
        Self::parse(pdu.content_object().get("membership")?.as_str()?)
    }
}

/// The rules that need no state: those on create events, and on the list of `auth_events`.
///
/// `fetch_event` must know the event's auth events and, in version 12, the room's create event.
pub fn check_state_independent(
    version: &RoomVersion,
    pdu: &Pdu,
    fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), AuthError> {
    if pdu.event_type() == "m.room.create" {
        return create::check_create(version, pdu);
    }
    if version.room_id_is_create_hash() {
        check_room_id(pdu, &fetch_event)?;
    }
    check_auth_events(version, pdu, &fetch_event)
}

/// Rule 2: "If the event's `room_id` is not an event ID for an accepted (not rejected)
/// `m.room.create` event, with the sigil `!` instead of `$`, reject."
fn check_room_id(pdu: &Pdu, fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>) -> Verdict {
    let create_id = room_create_event_id(pdu.room_id())
        .ok_or_else(|| forbidden("the room id is no hash of a create event"))?;
    let create = fetch_event(&create_id).ok_or(AuthError::MissingEvent(create_id))?;
    require(
        create.event_type() == "m.room.create" && !create.rejected(),
        "the room id does not name an accepted create event",
    )
}

/// Rule 3: "Considering the event's `auth_events`".
fn check_auth_events(
    version: &RoomVersion,
    pdu: &Pdu,
    fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Verdict {
    let expected = auth_keys(version, pdu)?;
    let mut seen = HashSet::new();
    for id in pdu.auth_events() {
        let event = fetch_event(id).ok_or_else(|| AuthError::MissingEvent(id.clone()))?;
        let entry = expected
            .iter()
            .position(|(event_type, state_key)| event.is_state_of(event_type, state_key));
        let Some(entry) = entry else {
            return Err(forbidden(format!("{id} is not among the auth events to select")));
        };
        if !seen.insert(entry) {
            return Err(forbidden(format!("{id} is the second auth event of its kind")));
        }
        if event.rejected() {
            return Err(forbidden(format!("auth event {id} was rejected")));
        }
        if event.room_id() != pdu.room_id() {
            return Err(forbidden(format!("auth event {id} is of another room")));
        }
    }
    let create = expected.iter().position(|(event_type, _)| event_type == "m.room.create");
    require(
        create.is_none_or(|entry| seen.contains(&entry)),
        "the create event is not among the auth events",
    )
}

/// The rules that depend on state, applied to the state that `fetch_state` looks up by event type
/// and state key.
///
/// Signatures are taken as verified.
pub fn check_auth(
    version: &RoomVersion,
    pdu: &Pdu,
    fetch_state: impl Fn(&str, &str) -> Option<Arc<Pdu>>,
) -> Result<(), AuthError> {
    check_with(version, pdu, &FetchState(fetch_state))
}

pub(crate) fn check_with(version: &RoomVersion, pdu: &Pdu, state: &impl AuthState) -> Verdict {
    if pdu.event_type() == "m.room.create" {
        return Ok(());
    }
    let create =
        state.get("m.room.create", "").ok_or_else(|| forbidden("the room has no create event"))?;
    // Rule 4.
    require(
        Create::read(version, &create).federates()
            || create.sender().server_name() == pdu.sender().server_name(),
        "the room is closed to other servers",
    )?;
    // Versions 1 to 5, rule 4.
    if version.rules().authorization.special_case_room_aliases
        && pdu.event_type() == "m.room.aliases"
    {
        return require(
            pdu.state_key() == Some(pdu.sender().server_name().as_str()),
            "a server sets only its own aliases",
        );
    }
    if pdu.event_type() == "m.room.member" {
        return membership::check_membership(version, pdu, &create, state);
    }
    check_other(version, pdu, &create, state)
}

/// Rules 6 to 11.
fn check_other(version: &RoomVersion, pdu: &Pdu, create: &Pdu, state: &impl AuthState) -> Verdict {
    require(
        state.membership(pdu.sender()) == Membership::Join,
        "the sender is not joined to the room",
    )?;
    let levels = state.power_levels(version, create);
    let level = levels.for_user(pdu.sender());
    if pdu.event_type() == "m.room.third_party_invite" {
        return require(level >= levels.invite(), "the sender's power does not allow to invite");
    }
    if level < levels.for_event(pdu.event_type(), pdu.is_state()) {
        let reason = format!("the sender's power does not allow `{}`", pdu.event_type());
        return Err(forbidden(reason));
    }
    require(
        pdu.state_key().is_none_or(|key| !key.starts_with('@') || key == pdu.sender().as_str()),
        "the state key is another user's id",
    )?;
    if pdu.event_type() == "m.room.power_levels" {
        return power_levels::check_change(version, pdu, &levels);
    }
    if version.rules().authorization.special_case_room_redaction
        && pdu.event_type() == "m.room.redaction"
    {
        return check_redaction(pdu, &levels);
    }
    Ok(())
}

/// Versions 1 and 2, rule 11.
fn check_redaction(pdu: &Pdu, levels: &PowerLevels) -> Verdict {
    let same_server = || {
        let target = pdu.redacts().and_then(EventId::server_name);
        target.is_some() && target == pdu.event_id().server_name()
    };
    require(
        levels.for_user(pdu.sender()) >= levels.redact() || same_server(),
        "the sender's power does not allow to redact",
    )
}
