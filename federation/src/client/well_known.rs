//! `/.well-known/matrix/server`: whom a name delegates to. Kept as long as the answer says, within
//! bounds.

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, Uri, header};
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use stdx::SharedClock;

use super::{bounded_body, connect::Connector, dns::Dns, outside::Outside};

const BODY_MAX: usize = 50 << 10;
const TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 10;
const DEFAULT_FRESH: u64 = 24 * 60 * 60;
const MIN_FRESH: u64 = 5 * 60;
const MAX_FRESH: u64 = 48 * 60 * 60;
/// "Servers should cache errors for no longer than an hour".
const ERROR_FRESH: u64 = 10 * 60;
const NAMES_MAX: usize = 65_536;

struct Known {
    delegated: Option<OwnedServerName>,
    until: u64,
}

pub(super) struct WellKnown {
    outside: Outside,
    clock: SharedClock,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "m.server")]
    server: String,
}

impl WellKnown {
    pub(super) fn new(connector: Connector, dns: Dns, clock: SharedClock) -> Self {
        Self { outside: Outside::new(connector, dns), clock, known: Mutex::default() }
    }

    /// `None` if the name delegates to nobody, or says nothing that can be read.
    pub(super) async fn find(&self, host: &str) -> Option<OwnedServerName> {
        let now = self.clock.now_ms();
        if let Some(known) = self.known.lock().get(host).filter(|known| now < known.until) {
            return known.delegated.clone();
        }
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch(host)).await.ok().flatten();
        let (delegated, fresh) = match fetched {
            Some((delegated, fresh)) => (Some(delegated), fresh.clamp(MIN_FRESH, MAX_FRESH)),
            None => (None, ERROR_FRESH),
        };
        let mut known = self.known.lock();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        let until = now + fresh * 1000;
        known.insert(host.to_owned(), Known { delegated: delegated.clone(), until });
        delegated
    }

    async fn fetch(&self, host: &str) -> Option<(OwnedServerName, u64)> {
        let uri: Uri = format!("https://{host}/.well-known/matrix/server").parse().ok()?;
        let response = self.outside.get(uri, REDIRECTS_MAX).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let fresh = freshness(response.headers());
        let body = bounded_body(response.into_body(), BODY_MAX).await.ok()?;
        let answer: Answer = serde_json::from_slice(&body).ok()?;
        Some((ServerName::parse(answer.server).ok()?, fresh))
    }
}

/// Seconds.
fn freshness(headers: &HeaderMap) -> u64 {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let directives = control.into_iter().flat_map(|value| value.split(','));
    for directive in directives.map(|directive| directive.trim().to_ascii_lowercase()) {
        if directive == "no-store" || directive == "no-cache" {
            return 0;
        }
        if let Some(age) = directive.strip_prefix("max-age=") {
            return age.trim_matches('"').parse().unwrap_or(DEFAULT_FRESH);
        }
    }
    DEFAULT_FRESH
}
