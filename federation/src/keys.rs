//! Signing keys: our own document, those of others, and what is believed of them.

mod document;
mod fetch;
mod own;
mod store;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use events::{PublicKey, SigningKey};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use rooms::ports::{self, KeyRequest, PortFuture, TrustedKey, TrustedKeys};
use ruma::{OwnedServerName, ServerName};
use stdx::SharedClock;
use storage::Store;
use tokio::sync::Mutex as AsyncMutex;

pub(crate) use self::document::Document;
use crate::{Client, Config};

/// "use the lesser of this field and 7 days into the future".
const TRUST_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// A server that did not answer is not asked again for so long, unless it makes contact.
const SILENCE_MS: u64 = 60 * 1000;
/// Servers whose documents are kept in memory.
const CACHED: usize = 10_000;
/// Servers asked at once for one call.
const AT_ONCE: usize = 16;
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
    /// When a server failed to answer last.
    silent: Mutex<HashMap<OwnedServerName, u64>>,
    /// Fetches under way: one per server.
    flights: Mutex<HashMap<OwnedServerName, Arc<AsyncMutex<()>>>>,
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
        let (silent, flights) = (Mutex::default(), Mutex::default());
        let inner = Inner { client, notaries, store, clock, key, cache, silent, flights };
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
        self.inner.refreshed(server, key_id, now).await.and_then(|document| fits(&document))
    }

    /// A server made contact: it can be asked again.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        self.inner.silent.lock().remove(server);
    }
}

impl ports::KeyRing for KeyRing {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        Box::pin(self.inner.verify_keys(wanted))
    }
}

impl Inner {
    async fn verify_keys(&self, wanted: Vec<KeyRequest>) -> TrustedKeys {
        let mut by_server: HashMap<OwnedServerName, Vec<KeyRequest>> = HashMap::new();
        for request in wanted {
            by_server.entry(request.server.clone()).or_default().push(request);
        }
        let found = stream::iter(by_server)
            .map(|(server, requests)| async move { self.keys_of(&server, requests).await })
            .buffer_unordered(AT_ONCE)
            .concat();
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_default().into_iter().collect()
    }

    async fn keys_of(
        &self,
        server: &ServerName,
        requests: Vec<KeyRequest>,
    ) -> Vec<((OwnedServerName, String), TrustedKey)> {
        if server == self.client.server_name() {
            return self.own_keys(&requests);
        }
        let mut document = self.known(server).await;
        let now = self.clock.now_ms();
        for request in &requests {
            let found = document.as_ref().and_then(|document| document.event_key(&request.key_id));
            if found.is_none_or(|key| key.valid_until < request.valid_at) {
                let refreshed = self.refreshed(server, &request.key_id, now).await;
                document = refreshed.or(document);
            }
        }
        let Some(document) = document else { return Vec::new() };
        let ids: HashSet<String> = requests.into_iter().map(|request| request.key_id).collect();
        ids.into_iter()
            .filter_map(|id| Some(((server.to_owned(), id.clone()), document.event_key(&id)?)))
            .collect()
    }

    fn own_keys(&self, requests: &[KeyRequest]) -> Vec<((OwnedServerName, String), TrustedKey)> {
        let own = TrustedKey { key: self.key.public_key(), valid_until: u64::MAX };
        requests
            .iter()
            .filter(|request| request.key_id == self.key.key_id())
            .map(|request| ((request.server.clone(), request.key_id.clone()), own))
            .collect()
    }
}
