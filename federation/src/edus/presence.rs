//! `m.presence`: read entry by entry, since deployed servers leave out or break single fields.

use presence::RemotePresence;
use ruma::{OwnedUserId, ServerName, presence::PresenceState};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Budget, own, parse};
use crate::inbound::Inbound;

/// As for users of this server.
const STATUS_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
struct Presence<'a> {
    #[serde(borrow)]
    push: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry {
    user_id: OwnedUserId,
    presence: String,
    /// Milliseconds; clocks that differ make it negative.
    #[serde(default)]
    last_active_ago: Value,
    #[serde(default)]
    status_msg: Value,
    #[serde(default)]
    currently_active: Value,
}

impl Inbound {
    pub(super) fn receive_presence(
        &self,
        origin: &ServerName,
        content: &RawValue,
        budget: &mut Budget,
    ) -> Result<(), String> {
        let Presence { push } = parse(content)?;
        for entry in push {
            budget.presence = budget.presence.checked_sub(1).ok_or("too many users")?;
            let Ok(entry) = parse::<Entry>(entry) else { continue };
            if own(origin, &entry.user_id).is_err() {
                continue;
            }
            let state = match entry.presence.as_str() {
                "online" => PresenceState::Online,
                // Synapse's `org.matrix.msc3026.busy` among them.
                "unavailable" | "busy" | "org.matrix.msc3026.busy" => PresenceState::Unavailable,
                "offline" => PresenceState::Offline,
                _ => continue,
            };
            let status = entry.status_msg.as_str();
            let status = status
                .map(|status| status[..status.floor_char_boundary(STATUS_BYTES_MAX)].to_owned());
            let remote = RemotePresence {
                state,
                last_active_ago: entry.last_active_ago.as_f64().map(|ago| ago.max(0.0) as u64),
                status_msg: status,
                currently_active: entry.currently_active.as_bool().unwrap_or(false),
            };
            self.inner.presence.receive_remote(&entry.user_id, remote);
        }
        Ok(())
    }
}
