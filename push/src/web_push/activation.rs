//! Before an app is pushed anything, it shows that it gets what is pushed: a token goes out as a push
//! and comes back as a request.

use std::{collections::HashSet, sync::Arc, time::Duration};

use accounts::Session;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use serde_json::json;
use stdx::Rng;

use crate::{
    ActivationError, Kind, Push, Pusher, PusherError, delivery::Verdict, pusher::Activation,
};

/// "The server must expire the `ack_token` after 5 minutes."
const LIFETIME_MS: u64 = 5 * 60 * 1000;
/// Somebody waits for it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Pushers to which a token is under way, by their ids: one task for each.
#[derive(Default)]
pub(crate) struct Activating(Mutex<HashSet<u64>>);

impl Activation {
    pub(crate) fn begin(rng: &Rng, now_ms: u64) -> Self {
        Self { done: false, ack_token: draw_uuid(rng), expires_at: now_ms + LIFETIME_MS }
    }

    fn has_token(&self, ack_token: &str) -> bool {
        verify_slices_are_equal(self.ack_token.as_bytes(), ack_token.as_bytes()).is_ok()
    }
}

/// "It is recommended to use a UUIDv4 token in hyphen form."
fn draw_uuid(rng: &Rng) -> String {
    let mut bytes: [u8; 16] = rng.bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl Push {
    /// The app shows the token that it was pushed. Durable on return; once more changes nothing.
    pub async fn activate_pusher(
        &self,
        session: &Session,
        app_id: &str,
        ack_token: &str,
    ) -> Result<(), ActivationError> {
        let inner = &*self.inner;
        let mut pushers = self.pushers(&session.user_id).await?;
        pushers.retain(|pusher| pusher.kind == Kind::WebPush && pusher.app_id == app_id);
        if pushers.is_empty() {
            return Err(ActivationError::NoPusher);
        }
        let has_token = |pusher: &Pusher| {
            pusher.activation.as_ref().is_some_and(|activation| activation.has_token(ack_token))
        };
        let pusher = pushers.iter().find(|pusher| has_token(pusher));
        let pusher = pusher.ok_or(ActivationError::UnknownToken)?;
        let _lock = inner.lock_pusher(app_id, &pusher.pushkey).await;
        let current = inner.registry.current(pusher).filter(|pusher| has_token(pusher));
        let mut pusher = Pusher::clone(&*current.ok_or(ActivationError::UnknownToken)?);
        let Some(activation) = pusher.activation.as_mut().filter(|activation| !activation.done)
        else {
            return Ok(());
        };
        if inner.clock.now_ms() >= activation.expires_at {
            return Err(ActivationError::Expired);
        }
        activation.done = true;
        pusher.since = inner.pushers.0.log().position();
        inner.pushers.replace(&[], Some(&pusher)).await.map_err(PusherError::from)?;
        inner.registry.insert(Arc::new(pusher));
        Ok(())
    }

    /// Sends the token of a pusher, which is in the registry. Nothing of this outlives the process:
    /// a client that gets no token sets its pusher again.
    pub(crate) fn send_ack_token(&self, pusher: Arc<Pusher>) {
        if self.inner.activating.0.lock().insert(pusher.id) {
            let this = self.clone();
            let sending = async move { this.send_ack_tokens(&pusher).await };
            self.inner.tasks.spawn_until_stopped("push activation", sending);
        }
    }

    async fn send_ack_tokens(&self, pusher: &Pusher) {
        let inner = &*self.inner;
        let (mut sent, mut failures) = (None, 0);
        while let Some((pusher, token)) = self.next_ack_token(pusher, sent.as_deref()) {
            let body = json!({ "app_id": pusher.app_id, "ack_token": token }).to_string();
            let gateway = inner.gateways.at(pusher.gateway_host());
            let verdict = match inner.web_push_message(&pusher, body.as_bytes(), true, None) {
                Some(message) => self.push_message(&pusher, &gateway, message).await,
                None => Verdict::Refused("the token cannot be encrypted".to_owned()),
            };
            match verdict {
                Verdict::Taken | Verdict::Refused(_) => (sent, failures) = (Some(token), 0),
                Verdict::Rejected => self.forget(&pusher).await,
                Verdict::Failed { reason, retry_after } => {
                    failures += 1;
                    tracing::info!(reason, "a push service does not take a token");
                    let pause = inner.config.pause_after(failures).min(PAUSE_MAX);
                    let until_expiry = Duration::from_millis(LIFETIME_MS);
                    let pause = pause.max(retry_after.unwrap_or_default()).min(until_expiry);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// What is to be sent next. If there is nothing, the task has ended for whoever comes next.
    fn next_ack_token(&self, pusher: &Pusher, sent: Option<&str>) -> Option<(Arc<Pusher>, String)> {
        let mut activating = self.inner.activating.0.lock();
        let now = self.inner.clock.now_ms();
        let next = self.inner.registry.current(pusher).and_then(|pusher| {
            let waits = |activation: &&Activation| {
                let is_sent = sent == Some(activation.ack_token.as_str());
                !activation.done && !is_sent && now < activation.expires_at
            };
            let token = pusher.activation.as_ref().filter(waits)?.ack_token.clone();
            Some((pusher, token))
        });
        if next.is_none() {
            activating.remove(&pusher.id);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use stdx::Rng;

    use super::draw_uuid;

    #[test]
    fn a_token_is_a_uuid_of_version_4() {
        let rng = Rng::from_seed(1);
        for _ in 0..100 {
            let uuid = draw_uuid(&rng);
            let groups: Vec<_> = uuid.split('-').collect();
            assert_eq!(
                groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12]
            );
            assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']));
        }
    }
}
