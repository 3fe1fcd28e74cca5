//! Redaction: what is left of an event of each room version.
//!
//! Hashes and signatures cover the redacted form, so it is written straight to bytes, without
//! building the redacted event first.

use ruma::room_version_rules::RedactionRules;

use crate::{
    RoomVersion,
    canonical::{Object, ObjectWriter, Value},
};

/// Writes the redacted form of `event`, less the top-level keys in `omit`.
pub(crate) fn write_redacted(
    event: &Object<'_>,
    version: &RoomVersion,
    omit: &[&str],
    out: &mut Vec<u8>,
) {
    let rules = &version.rules().redaction;
    let event_type = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut writer = ObjectWriter::begin(out);
    for (key, value) in event.iter() {
        if omit.contains(&key) || !keeps_at_top(rules, key) {
            continue;
        }
        let out = writer.key(key);
        match value {
            Value::Object(content) if key == "content" => {
                write_content(rules, event_type, content, out);
            }
            _ => value.write(out),
        }
    }
    writer.end();
}

fn keeps_at_top(rules: &RedactionRules, key: &str) -> bool {
    match key {
        "event_id" | "type" | "room_id" | "sender" | "state_key" | "content" | "hashes"
        | "signatures" | "depth" | "prev_events" | "auth_events" | "origin_server_ts" => true,
        "origin" | "membership" | "prev_state" => rules.keep_origin_membership_prev_state,
        _ => false,
    }
}

fn write_content(
    rules: &RedactionRules,
    event_type: &str,
    content: &Object<'_>,
    out: &mut Vec<u8>,
) {
    let mut writer = ObjectWriter::begin(out);
    for (key, value) in content.iter() {
        if keeps_in_content(rules, event_type, key) {
            value.write(writer.key(key));
        } else if let Some(invite) = kept_invite(rules, event_type, key, value) {
            let mut inner = ObjectWriter::begin(writer.key(key));
            if let Some(signed) = invite.get("signed") {
                signed.write(inner.key("signed"));
            }
            inner.end();
        }
    }
    writer.end();
}

fn keeps_in_content(rules: &RedactionRules, event_type: &str, key: &str) -> bool {
    match (event_type, key) {
        ("m.room.create", _) if rules.keep_room_create_content => true,
        ("m.room.create", "creator")
        | ("m.room.member", "membership")
        | ("m.room.join_rules", "join_rule")
        | ("m.room.history_visibility", "history_visibility")
        | (
            "m.room.power_levels",
            "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users"
            | "users_default",
        ) => true,
        ("m.room.member", "join_authorised_via_users_server") => {
            rules.keep_room_member_join_authorised_via_users_server
        }
        ("m.room.join_rules", "allow") => rules.keep_room_join_rules_allow,
        ("m.room.power_levels", "invite") => rules.keep_room_power_levels_invite,
        ("m.room.aliases", "aliases") => rules.keep_room_aliases_aliases,
        ("m.room.redaction", "redacts") => rules.keep_room_redaction_redacts,
        _ => false,
    }
}

/// Version 11 on, of `third_party_invite` its `signed` key is kept.
fn kept_invite<'v, 'a>(
    rules: &RedactionRules,
    event_type: &str,
    key: &str,
    value: &'v Value<'a>,
) -> Option<&'v Object<'a>> {
    let kept = rules.keep_room_member_third_party_invite_signed
        && event_type == "m.room.member"
        && key == "third_party_invite";
    if kept { value.as_object() } else { None }
}
