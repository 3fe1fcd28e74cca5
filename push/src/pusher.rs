//! A pusher: what a device asked for, checked.

use accounts::SessionId;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde_json::{Map, Value};
use storage::Position;

use crate::PusherError;

/// "Max length, 512 bytes."
const PUSHKEY_BYTES_MAX: usize = 512;
/// "Max length, 64 chars."
const APP_ID_CHARS_MAX: usize = 64;
/// Of the texts that are for people.
const TEXT_BYTES_MAX: usize = 1024;
/// Of `data`, which goes along with each notification.
const DATA_BYTES_MAX: usize = 16 << 10;
/// "MUST be an HTTPS URL with a path of" this.
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";

/// What `POST /pushers/set` asks for.
#[derive(Clone, Debug)]
pub struct NewPusher {
    pub app_id: String,
    pub pushkey: String,
    /// Only `http` is known.
    pub kind: String,
    pub app_display_name: String,
    pub device_display_name: String,
    pub profile_tag: Option<String>,
    pub lang: String,
    pub data: Map<String, Value>,
    /// MSC3881: whether notifications are sent at all.
    pub enabled: bool,
    /// Pushers of other users with the same app and key stay.
    pub append: bool,
}

/// A pusher that lives as long as the session that set it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pusher {
    /// Tells it from others that had the same key before.
    pub(crate) id: u64,
    pub user_id: OwnedUserId,
    pub app_id: String,
    pub pushkey: String,
    pub kind: String,
    pub app_display_name: String,
    pub device_display_name: String,
    pub profile_tag: Option<String>,
    pub lang: String,
    pub data: Map<String, Value>,
    pub enabled: bool,
    /// Of the session that set it.
    pub device_id: OwnedDeviceId,
    pub(crate) session: SessionId,
    /// When it was set, in milliseconds.
    pub(crate) set_ts: u64,
    /// What happened up to here is not told.
    pub(crate) since: Position,
}

impl Pusher {
    /// Where notifications go.
    pub(crate) fn url(&self) -> &str {
        self.data.get("url").and_then(Value::as_str).unwrap_or_default()
    }

    /// Where that is, without what may be a secret.
    pub(crate) fn gateway_host(&self) -> String {
        let url = self.url();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase()
    }

    /// Whether the gateway is told ids only.
    pub(crate) fn is_event_id_only(&self) -> bool {
        self.data.get("format").and_then(Value::as_str) == Some("event_id_only")
    }
}

impl NewPusher {
    pub(crate) fn check(&self) -> Result<(), PusherError> {
        let invalid = |why: String| Err(PusherError::Invalid(why));
        check_key(&self.app_id, &self.pushkey)?;
        if self.kind != "http" {
            return invalid(format!("there are no pushers of the kind {:?} here", self.kind));
        }
        let texts = [&self.app_display_name, &self.device_display_name, &self.lang];
        let is_long = |text: &String| text.len() > TEXT_BYTES_MAX;
        if texts.into_iter().chain(&self.profile_tag).any(is_long) {
            return invalid(format!("a text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let bytes = serde_json::to_vec(&self.data).map_or(usize::MAX, |data| data.len());
        if bytes > DATA_BYTES_MAX {
            return invalid(format!("'data' is larger than {DATA_BYTES_MAX} bytes"));
        }
        match self.data.get("url") {
            Some(Value::String(url)) => check_url(url),
            Some(_) => invalid("'url' in 'data' must be a string".to_owned()),
            None => invalid("'data' must have a 'url'".to_owned()),
        }
    }
}

fn check_key(app_id: &str, pushkey: &str) -> Result<(), PusherError> {
    let invalid = |why: String| Err(PusherError::Invalid(why));
    if app_id.is_empty() || app_id.chars().count() > APP_ID_CHARS_MAX {
        return invalid(format!("'app_id' must have 1 to {APP_ID_CHARS_MAX} characters"));
    }
    if pushkey.is_empty() || pushkey.len() > PUSHKEY_BYTES_MAX {
        return invalid(format!("'pushkey' must have 1 to {PUSHKEY_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// No more than the form; whether the address may be connected to is known when it is.
fn check_url(url: &str) -> Result<(), PusherError> {
    let invalid = |why: &str| Err(PusherError::Invalid(why.to_owned()));
    let Some(rest) = url.strip_prefix("https://") else {
        return invalid("'url' must be an HTTPS URL");
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@\\\"<>".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return invalid("'url' must name a host, and no user");
    }
    let (path, _query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if path != GATEWAY_PATH || url.contains('#') {
        return invalid("'url' must have a path of '/_matrix/push/v1/notify'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn a_gateway_is_https_at_the_path_of_the_specification() {
        for good in [
            "https://push.example/_matrix/push/v1/notify",
            "https://push.example:8443/_matrix/push/v1/notify",
            "https://[2620:fe::fe]/_matrix/push/v1/notify",
            "https://push.example/_matrix/push/v1/notify?token=a/b",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "push.example",
            "http://push.example/_matrix/push/v1/notify",
            "https:///_matrix/push/v1/notify",
            "https://push.example",
            "https://push.example/",
            "https://push.example/_matrix/push/v1/notify/",
            "https://push.example/other?/_matrix/push/v1/notify",
            "https://push.example/_matrix/push/v1/notify#x",
            "https://user@push.example/_matrix/push/v1/notify",
            "https://push example/_matrix/push/v1/notify",
            "https://push.example\\/_matrix/push/v1/notify",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
