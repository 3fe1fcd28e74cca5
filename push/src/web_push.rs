//! Web Push (MSC4174): notifications to a push service that cannot read them.

mod activation;
mod encryption;
mod vapid;

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::EventId;

pub(crate) use self::{
    activation::Activating,
    encryption::{PLAINTEXT_BYTES_MAX, Subscription},
    vapid::Vapid,
};
use crate::{Pusher, WebPushMessage, service::Inner};

/// "`TTL`: set to `172800`, to expire the push notification after 2 days".
const TTL: Duration = Duration::from_secs(172_800);
/// "No more than 32 characters" (RFC 8030, section 5.4).
const TOPIC_CHARS: usize = 32;

impl Inner {
    /// `None` if the pusher's keys are none, or `plaintext` is too long.
    pub(crate) fn web_push_message(
        &self,
        pusher: &Pusher,
        plaintext: &[u8],
        is_urgent: bool,
        topic: Option<String>,
    ) -> Option<WebPushMessage> {
        let body = pusher.subscription()?.seal(plaintext, &self.rng)?;
        let origin = origin(&pusher.gateway_host());
        Some(WebPushMessage {
            body: body.into(),
            ttl: TTL,
            urgency: if is_urgent { "high" } else { "normal" },
            topic,
            authorization: self.vapid.authorization(&origin, self.clock.now_ms())?,
        })
    }
}

/// As a browser writes it: the default port is left out.
fn origin(authority: &str) -> String {
    format!("https://{}", authority.strip_suffix(":443").unwrap_or(authority))
}

/// Of a notification about an event, so that one that is sent twice arrives once; of one that tells
/// only a count, so that the newest arrives. Who does not know the subscription's secret learns nothing
/// from it.
pub(crate) fn topic(pusher: &Pusher, event_id: Option<&EventId>) -> Option<String> {
    let auth = pusher.data.get("auth")?.as_str()?;
    let subject = event_id.map_or("counts", EventId::as_str);
    let hash = digest::digest(&digest::SHA256, format!("{auth} {subject}").as_bytes());
    let mut topic = URL_SAFE_NO_PAD.encode(hash);
    topic.truncate(TOPIC_CHARS);
    Some(topic)
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn the_audience_of_a_token_is_an_origin() {
        assert_eq!(origin("push.example"), "https://push.example");
        assert_eq!(origin("push.example:443"), "https://push.example");
        assert_eq!(origin("push.example:8443"), "https://push.example:8443");
    }
}
