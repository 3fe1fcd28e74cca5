//! What identity servers are asked: `/pubkey/isvalid`, at the URL that the room has.

use std::time::Duration;

use serde::Deserialize;

use super::{Remote, paths::encode};
use crate::Limits;

/// Another server waits for the answer.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), body: 16 << 10 };

impl Remote {
    /// "The query string and response for the provided URL must match the Identity Service
    /// Specification."
    pub(super) async fn ask_whether_valid(&self, url: &str, public_key: &str) -> bool {
        #[derive(Deserialize)]
        struct Body {
            valid: bool,
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}public_key={}", encode(public_key));
        let answer = self.client.get_url(&url, LIMITS).await;
        let answer = answer.inspect_err(|error| tracing::debug!(%error, %url, "no answer"));
        answer.is_ok_and(|answer| {
            answer.status.is_success()
                && serde_json::from_slice(&answer.body).is_ok_and(|body: Body| body.valid)
        })
    }
}
