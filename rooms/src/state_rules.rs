//! What the specification asks of known state events beyond authorisation: the right types, and
//! aliases that lead to the room.

use ruma::{
    OwnedRoomAliasId, RoomAliasId,
    events::{
        room::{
            avatar::RoomAvatarEventContent, canonical_alias::RoomCanonicalAliasEventContent,
            encryption::RoomEncryptionEventContent, guest_access::RoomGuestAccessEventContent,
            history_visibility::RoomHistoryVisibilityEventContent,
            join_rules::RoomJoinRulesEventContent, name::RoomNameEventContent,
            pinned_events::RoomPinnedEventsEventContent, power_levels::RoomPowerLevelsEventContent,
            third_party_invite::RoomThirdPartyInviteEventContent,
            tombstone::RoomTombstoneEventContent, topic::RoomTopicEventContent,
        },
        space::{child::SpaceChildEventContent, parent::SpaceParentEventContent},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    Error,
    draft::{Draft, Says},
    rooms::Inner,
    store::Aliases,
};

pub(crate) async fn check(
    inner: &Inner,
    draft: &mut Draft<'_>,
    says: &Says<'_>,
) -> Result<(), Error> {
    check_types(says.event_type, says.content)?;
    if says.event_type == "m.room.canonical_alias" && says.state_key == Some("") {
        check_canonical_alias(inner, draft, says.content).await?;
    }
    if says.event_type == "m.room.server_acl" && says.state_key == Some("") {
        check_lets_itself_in(inner, says.content)?;
    }
    Ok(())
}

/// A list that denies the server of who sets it could not be taken back: the others would listen to
/// that server no more. Synapse refuses it too.
///
/// A list names hosts. Of a server with a port in its name others may share the host, as where servers
/// are tried out, and then to deny them all may be what is wanted; Synapse lets it pass as well.
fn check_lets_itself_in(inner: &Inner, content: &RawValue) -> Result<(), Error> {
    let shares_host = inner.server_name.port().is_some();
    if shares_host || events::ServerAcl::parse(content.get()).allows(&inner.server_name) {
        return Ok(());
    }
    let reason = "the access control list denies this server, which could not set another then";
    Err(Error::InvalidParam(reason.to_owned()))
}

/// Refuses content that no client could read. An empty object takes a setting back and is allowed
/// everywhere.
pub(crate) fn check_types(event_type: &str, content: &RawValue) -> Result<(), Error> {
    if is_empty_object(content) {
        return Ok(());
    }
    match event_type {
        "m.room.avatar" => reads_as::<RoomAvatarEventContent>(event_type, content),
        "m.room.canonical_alias" => check_alias_forms(content),
        "m.room.encryption" => reads_as::<RoomEncryptionEventContent>(event_type, content),
        "m.room.guest_access" => reads_as::<RoomGuestAccessEventContent>(event_type, content),
        "m.room.history_visibility" => {
            reads_as::<RoomHistoryVisibilityEventContent>(event_type, content)
        }
        "m.room.join_rules" => reads_as::<RoomJoinRulesEventContent>(event_type, content),
        "m.room.name" => reads_as::<RoomNameEventContent>(event_type, content),
        "m.room.pinned_events" => reads_as::<RoomPinnedEventsEventContent>(event_type, content),
        "m.room.power_levels" => reads_as::<RoomPowerLevelsEventContent>(event_type, content),
        "m.room.server_acl" => reads_as::<ServerAcl>(event_type, content),
        "m.room.third_party_invite" => {
            reads_as::<RoomThirdPartyInviteEventContent>(event_type, content)
        }
        "m.room.tombstone" => reads_as::<RoomTombstoneEventContent>(event_type, content),
        "m.room.topic" => reads_as::<RoomTopicEventContent>(event_type, content),
        "m.space.child" => reads_as::<SpaceChildEventContent>(event_type, content),
        "m.space.parent" => reads_as::<SpaceParentEventContent>(event_type, content),
        _ => Ok(()),
    }
}

/// `allow_ip_literals` "defaults to `true` if missing or otherwise not a boolean", so nothing in it
/// is wrong.
#[derive(Deserialize)]
struct ServerAcl {
    #[serde(default, rename = "allow")]
    _allow: Vec<String>,
    #[serde(default, rename = "deny")]
    _deny: Vec<String>,
}

fn is_empty_object(content: &RawValue) -> bool {
    let text = content.get();
    text.starts_with('{') && text[1..].trim_start().starts_with('}')
}

fn reads_as<T: DeserializeOwned>(event_type: &str, content: &RawValue) -> Result<(), Error> {
    serde_json::from_str::<T>(content.get())
        .map(drop)
        .map_err(|error| Error::BadJson(format!("the content of `{event_type}`: {error}")))
}

/// Aliases that are no aliases are an invalid parameter, not bad JSON.
fn check_alias_forms(content: &RawValue) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Loose {
        #[serde(default)]
        alias: Option<String>,
        #[serde(default)]
        alt_aliases: Vec<String>,
    }
    let loose: Loose = serde_json::from_str(content.get())
        .map_err(|error| Error::BadJson(format!("the canonical aliases: {error}")))?;
    let alias = loose.alias.filter(|alias| !alias.is_empty());
    for alias in alias.iter().chain(&loose.alt_aliases) {
        RoomAliasId::parse(alias)
            .map_err(|_| Error::InvalidParam(format!("{alias:?} is not a room alias")))?;
    }
    Ok(())
}

/// Each alias that is new must lead to this room.
async fn check_canonical_alias(
    inner: &Inner,
    draft: &mut Draft<'_>,
    content: &RawValue,
) -> Result<(), Error> {
    let current = draft.state("m.room.canonical_alias", "").await?;
    let before = current.map(|event| aliases(event.content())).unwrap_or_default();
    for alias in aliases(content) {
        if before.contains(&alias) {
            continue;
        }
        if alias.server_name() != inner.server_name {
            return Err(Error::BadAlias(format!("{alias} is not an alias of this server")));
        }
        let found = inner.store.get::<Aliases>(&alias, ()).await?;
        if found.is_none_or(|record| record.room_id != draft.room_id()) {
            return Err(Error::BadAlias(format!("{alias} does not lead to this room")));
        }
    }
    Ok(())
}

fn aliases(content: &RawValue) -> Vec<OwnedRoomAliasId> {
    serde_json::from_str::<RoomCanonicalAliasEventContent>(content.get())
        .map(|content| content.alias.into_iter().chain(content.alt_aliases).collect())
        .unwrap_or_default()
}
