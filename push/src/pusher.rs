//! A pusher: what a device asked for, checked.

use accounts::SessionId;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde_json::{Map, Value};
use storage::Position;

use crate::{PusherError, web_push::Subscription};

/// "Max length, 512 bytes."
const PUSHKEY_BYTES_MAX: usize = 512;
/// "Max length, 64 chars."
const APP_ID_CHARS_MAX: usize = 64;
/// Of the texts that are for people.
const TEXT_BYTES_MAX: usize = 1024;
/// Of `data`, which goes along with each notification.
const DATA_BYTES_MAX: usize = 16 << 10;
/// The same for Web Push, where a notification has less than 4 KiB.
const WEB_PUSH_DATA_BYTES_MAX: usize = 2 << 10;
/// "MUST be an HTTPS URL with a path of" this.
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";
/// "If the `kind` is `"email"`, this is `"m.email"`."
pub(crate) const EMAIL_APP: &str = "m.email";

/// How a pusher tells of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a push gateway.
    Http,
    /// To the reader of an address, those that are unread for a while, together.
    Email,
    /// To a push service, encrypted for the app (MSC4174).
    WebPush,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Email => "email",
            Self::WebPush => "webpush",
        }
    }

    pub(crate) fn parse(kind: &str) -> Option<Self> {
        [Self::Http, Self::Email, Self::WebPush].into_iter().find(|known| known.as_str() == kind)
    }
}

/// What `POST /pushers/set` asks for.
#[derive(Clone, Debug)]
pub struct NewPusher {
    pub app_id: String,
    pub pushkey: String,
    /// By its name in the specification.
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

/// What a pusher does not outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The session that set it.
    Session(SessionId),
    /// Its address being one of the account's, since then, in milliseconds.
    Address { added_at: u64 },
}

/// MSC4174: whether the app has shown that it gets what is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    pub(crate) done: bool,
    pub(crate) ack_token: String,
    /// Until when the token counts, in milliseconds.
    pub(crate) expires_at: u64,
}

/// A pusher that lives as long as what it is tied to.
#[derive(Clone, Debug, PartialEq)]
pub struct Pusher {
    /// Tells it from others that had the same key before.
    pub(crate) id: u64,
    pub user_id: OwnedUserId,
    pub app_id: String,
    pub pushkey: String,
    pub kind: Kind,
    pub app_display_name: String,
    pub device_display_name: String,
    pub profile_tag: Option<String>,
    pub lang: String,
    pub data: Map<String, Value>,
    pub enabled: bool,
    /// Of the session that set it.
    pub device_id: OwnedDeviceId,
    pub(crate) tie: Tie,
    /// Of Web Push, and of nothing else.
    pub(crate) activation: Option<Activation>,
    /// When it was set, in milliseconds.
    pub(crate) set_ts: u64,
    /// What happened up to here is not told.
    pub(crate) since: Position,
}

impl Pusher {
    /// Where notifications go.
    pub(crate) fn url(&self) -> &str {
        self.text("url")
    }

    fn text(&self, key: &str) -> &str {
        self.data.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Where that is, without what may be a secret.
    pub(crate) fn gateway_host(&self) -> String {
        if self.kind == Kind::Email {
            return "mail".to_owned();
        }
        let url = self.url();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase()
    }

    /// Whether the gateway is told ids only.
    pub(crate) fn is_event_id_only(&self) -> bool {
        self.text("format") == "event_id_only"
    }

    /// Whether notifications are to be sent.
    pub(crate) fn is_on(&self) -> bool {
        self.enabled && self.activated() != Some(false)
    }

    /// Of Web Push: whether the app has acknowledged it. `None` of all others.
    pub fn activated(&self) -> Option<bool> {
        self.activation.as_ref().map(|activation| activation.done)
    }

    pub(crate) fn subscription(&self) -> Option<Subscription> {
        Subscription::parse(&self.pushkey, self.text("auth"))
    }

    /// Who the mails of an email pusher are from, if the client says so.
    pub(crate) fn brand(&self) -> Option<&str> {
        Some(self.text("brand")).filter(|brand| !brand.is_empty())
    }
}

impl NewPusher {
    /// The kind, if what is asked for is in order.
    pub(crate) fn check(&self) -> Result<Kind, PusherError> {
        let invalid = |why: String| Err(PusherError::Invalid(why));
        check_key(&self.app_id, &self.pushkey)?;
        let Some(kind) = Kind::parse(&self.kind) else {
            return invalid(format!("there are no pushers of the kind {:?} here", self.kind));
        };
        let texts = [&self.app_display_name, &self.device_display_name, &self.lang];
        let is_long = |text: &String| text.len() > TEXT_BYTES_MAX;
        if texts.into_iter().chain(&self.profile_tag).any(is_long) {
            return invalid(format!("a text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let bytes = serde_json::to_vec(&self.data).map_or(usize::MAX, |data| data.len());
        let bytes_max = match kind {
            Kind::WebPush => WEB_PUSH_DATA_BYTES_MAX,
            Kind::Http | Kind::Email => DATA_BYTES_MAX,
        };
        if bytes > bytes_max {
            return invalid(format!("'data' is larger than {bytes_max} bytes"));
        }
        match kind {
            Kind::Email if self.app_id != EMAIL_APP => {
                return invalid(format!("'app_id' must be '{EMAIL_APP}' for mails"));
            }
            Kind::Email => {}
            Kind::Http => check_gateway(self.text("url")?)?,
            Kind::WebPush => {
                check_url(self.text("url")?)?;
                if Subscription::parse(&self.pushkey, self.text("auth")?).is_none() {
                    let why = "'pushkey' must be a point of P-256, uncompressed, and 'auth' in \
                               'data' 16 bytes, both in base64 for URLs without padding";
                    return invalid(why.to_owned());
                }
            }
        }
        Ok(kind)
    }

    fn text(&self, key: &str) -> Result<&str, PusherError> {
        match self.data.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(PusherError::Invalid(format!("'{key}' in 'data' must be a string"))),
            None => Err(PusherError::Invalid(format!("'data' must have a '{key}'"))),
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

fn check_gateway(url: &str) -> Result<(), PusherError> {
    let path = check_url(url)?;
    let (path, _query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if path != GATEWAY_PATH {
        let why = "'url' must have a path of '/_matrix/push/v1/notify'";
        return Err(PusherError::Invalid(why.to_owned()));
    }
    Ok(())
}

/// The path with its query. No more than the form is checked; whether the address may be connected
/// to is known when it is.
fn check_url(url: &str) -> Result<&str, PusherError> {
    let invalid = |why: &str| Err(PusherError::Invalid(why.to_owned()));
    let Some(rest) = url.strip_prefix("https://") else {
        return invalid("'url' must be an HTTPS URL");
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@\\\"<>".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return invalid("'url' must name a host, and no user");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
        return invalid("'url' must have a plain path and no fragment");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::{check_gateway, check_url};

    #[test]
    fn a_gateway_is_https_at_the_path_of_the_specification() {
        for good in [
            "https://push.example/_matrix/push/v1/notify",
            "https://push.example:8443/_matrix/push/v1/notify",
            "https://[2620:fe::fe]/_matrix/push/v1/notify",
            "https://push.example/_matrix/push/v1/notify?token=a/b",
        ] {
            assert!(check_gateway(good).is_ok(), "{good}");
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
            assert!(check_gateway(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_push_resource_is_https_at_any_path() {
        for good in ["https://push.example", "https://push.example/wpush/v2/gAAA?x=y"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in ["http://push.example/", "https://u@push.example/", "https://push.example/a b"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
