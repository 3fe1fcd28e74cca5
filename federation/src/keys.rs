//! Signing keys: our own document, those of others, and what is believed of them.

mod attempts;
mod document;
mod fetch;
mod own;
mod store;

use std::{collections::HashMap, sync::Arc, time::Duration};

use events::{PublicKey, SigningKey};
use futures_util::{StreamExt as _, stream};
use quick_cache::sync::Cache;
use rooms::ports::{self, KeyRequest, PortFuture, TrustedKey, TrustedKeys};
use ruma::{OwnedServerName, ServerName};
use stdx::SharedClock;
use storage::Store;

use self::{
    attempts::{Asks, Attempts},
    document::Document,
};
use crate::{Client, Config};

/// "use the lesser of this field and 7 days into the future".
const TRUST_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Servers whose documents are kept in memory.
const CACHED: usize = 10_000;
/// Servers asked at once for one call. Of those in a large old room most may be gone, and each of
/// them takes its time.
const AT_ONCE: usize = 128;
/// What one call waits for keys at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// The keys of all servers. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    notaries: Vec<OwnedServerName>,
    store: Store,
    clock: SharedClock,
    key: SigningKey,
    cache: Cache<OwnedServerName, Arc<Document>>,
    attempts: Attempts,
}

impl KeyRing {
    pub fn new(
        config: &Config,
        client: Client,
        store: Store,
        clock: SharedClock,
        key: SigningKey,
    ) -> Self {
        let notaries = config.notaries.clone();
        let cache = Cache::new(CACHED);
        let attempts = Attempts::default();
        let inner = Inner { client, notaries, store, clock, key, cache, attempts };
        Self { inner: Arc::new(inner) }
    }

    /// A key that counts for requests now: a current one, not one that was replaced.
    pub(crate) async fn request_key(&self, server: &ServerName, key_id: &str) -> Option<PublicKey> {
        let now = self.inner.clock.now_ms();
        let fits = |document: &Document| {
            document.verify_keys.get(key_id).copied().filter(|_| document.valid_until >= now)
        };
        if let Some(key) = self.inner.known(server).await.and_then(|document| fits(&document)) {
            return Some(key);
        }
        self.inner
            .refreshed(server, key_id, now, Asks::Verification)
            .await
            .and_then(|document| fits(&document))
    }

    /// A server made contact: it can be asked again.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        self.inner.attempts.forgive(server);
    }
}

impl ports::KeyRing for KeyRing {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        Box::pin(self.inner.verify_keys(wanted))
    }
}

/// Keys of one server.
type Found = Vec<((OwnedServerName, String), TrustedKey)>;

impl Inner {
    async fn verify_keys(&self, wanted: Vec<KeyRequest>) -> TrustedKeys {
        let mut by_server: HashMap<OwnedServerName, Vec<KeyRequest>> = HashMap::new();
        for request in wanted {
            by_server.entry(request.server.clone()).or_default().push(request);
        }
        let mut keys = TrustedKeys::new();
        let mut missing = Vec::new();
        // First what is known: it must not wait behind servers that do not answer.
        for (server, requests) in by_server {
            let (found, is_all) = self.known_keys(&server, &requests).await;
            keys.extend(found);
            if !is_all {
                missing.push((server, requests));
            }
        }
        let asked = async {
            let mut asked = stream::iter(missing)
                .map(|(server, requests)| async move { self.asked_keys(&server, &requests).await })
                .buffer_unordered(AT_ONCE);
            while let Some(found) = asked.next().await {
                keys.extend(found);
            }
        };
        // Whoever has not answered then has at least not taken the answers of others along.
        let _all_or_some = tokio::time::timeout(PATIENCE, asked).await;
        keys
    }

    /// And whether nothing is left to be asked for.
    async fn known_keys(&self, server: &ServerName, requests: &[KeyRequest]) -> (Found, bool) {
        if server == self.client.server_name() {
            return (self.own_keys(requests), true);
        }
        let Some(document) = self.known(server).await else { return (Found::new(), false) };
        let is_good = |request: &KeyRequest| {
            let key = document.event_key(&request.key_id);
            key.is_some_and(|key| key.valid_until >= request.valid_at)
        };
        let is_all = requests.iter().all(is_good);
        (keys_in(&document, server, requests), is_all)
    }

    async fn asked_keys(&self, server: &ServerName, requests: &[KeyRequest]) -> Found {
        let now = self.clock.now_ms();
        let mut document = None;
        for KeyRequest { key_id, .. } in requests {
            let refreshed = self.refreshed(server, key_id, now, Asks::Verification).await;
            document = refreshed.or(document);
        }
        document.map(|document| keys_in(&document, server, requests)).unwrap_or_default()
    }

    fn own_keys(&self, requests: &[KeyRequest]) -> Found {
        let own = TrustedKey { key: self.key.public_key(), valid_until: u64::MAX };
        requests
            .iter()
            .filter(|request| request.key_id == self.key.key_id())
            .map(|request| ((request.server.clone(), request.key_id.clone()), own))
            .collect()
    }
}

fn keys_in(document: &Document, server: &ServerName, requests: &[KeyRequest]) -> Found {
    let key = |KeyRequest { key_id, .. }: &KeyRequest| {
        Some(((server.to_owned(), key_id.clone()), document.event_key(key_id)?))
    };
    requests.iter().filter_map(key).collect()
}
