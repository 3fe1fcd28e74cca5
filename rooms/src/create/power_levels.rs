//! The first power levels of a room.

use std::collections::BTreeMap;

use events::RoomVersion;

use super::{CreateRoom, Preset};
use crate::{Error, content::Content};

pub(super) fn for_request(
    request: &CreateRoom<'_>,
    version: &RoomVersion,
) -> Result<Content, Error> {
    let mut content = default_levels(request, version);
    if let Some(given) = request.power_level_content_override {
        content.extend(Content::parse(given, "`power_level_content_override`")?);
    }
    Ok(content)
}

fn default_levels(request: &CreateRoom<'_>, version: &RoomVersion) -> Content {
    let mut users = BTreeMap::new();
    // "The creator cannot be specified in the `users` field" where their power is infinite.
    if !version.creators_have_infinite_power() {
        users.insert(request.creator.as_str(), 100);
        if request.preset() == Preset::TrustedPrivateChat {
            users.extend(request.invite.iter().map(|user| (user.as_str(), 100)));
        }
    }
    // "MUST explicitly be higher than `state_default`" in version 12 on.
    let tombstone = if version.creators_have_infinite_power() { 150 } else { 100 };
    let events = BTreeMap::from([
        ("m.room.avatar", 50),
        ("m.room.canonical_alias", 50),
        ("m.room.encryption", 100),
        ("m.room.history_visibility", 100),
        ("m.room.name", 50),
        ("m.room.power_levels", 100),
        ("m.room.server_acl", 100),
        ("m.room.tombstone", tombstone),
    ]);
    let invite = if request.preset() == Preset::PublicChat { 50 } else { 0 };
    let mut content = Content::new();
    content
        .set("users", users)
        .set("users_default", 0)
        .set("events", events)
        .set("events_default", 0)
        .set("state_default", 50)
        .set("ban", 50)
        .set("kick", 50)
        .set("redact", 50)
        .set("invite", invite);
    content
}
