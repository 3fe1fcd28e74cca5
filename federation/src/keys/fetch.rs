//! Keys that are not known yet, or not any more: from the server itself, else from a notary.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use storage::Batch;

use super::{
    Inner, TRUST_MAX_MS,
    attempts::Asks,
    document::Document,
    store::{DocumentRecord, KeyDocuments},
};
use crate::Limits;

const LIMITS: Limits = Limits { time: Duration::from_secs(15), body: 256 << 10 };

impl Inner {
    /// What is known of a server without asking.
    pub(super) async fn known(&self, server: &ServerName) -> Option<Arc<Document>> {
        if let Some(document) = self.cache.get(server) {
            return Some(document);
        }
        let record = self.store.get::<KeyDocuments>(server.as_str(), ()).await.ok()??;
        let document = Document::read(record.json, server, record.valid_until).ok()?;
        let document = Arc::new(document);
        self.cache.insert(server.to_owned(), Arc::clone(&document));
        Some(document)
    }

    /// Asks for a document that has the key and counts at `now`, unless it was asked for a short
    /// time ago. Many who ask at once share one request.
    pub(super) async fn refreshed(
        &self,
        server: &ServerName,
        key_id: &str,
        now: u64,
        asks: Asks,
    ) -> Option<Arc<Document>> {
        let _turn = self.attempts.turn(server).await;
        let fits = |document: &Arc<Document>| {
            document.event_key(key_id).is_some() && document.valid_until >= now
        };
        match self.known(server).await.filter(|document| fits(document)) {
            // Somebody else has asked meanwhile.
            Some(document) => Some(document),
            None if !self.attempts.may_ask(server, now, asks) => None,
            None => self.fetch(server, now, asks).await,
        }
    }

    async fn fetch(&self, server: &ServerName, now: u64, asks: Asks) -> Option<Arc<Document>> {
        let trust_max = now + TRUST_MAX_MS;
        let direct = self.ask_directly(server).await;
        let direct = direct.and_then(|json| {
            Document::read(json, server, trust_max)
                .inspect_err(|reason| tracing::debug!(%server, reason, "keys that cannot be used"))
                .ok()
        });
        // Before the notaries are asked, for whom the caller may not have the patience.
        self.attempts.note(server, now, asks, direct.is_none());
        if let Some(document) = direct {
            return Some(self.keep(server, document).await);
        }
        for notary in &self.notaries {
            for json in self.ask_notary(notary, server, now).await {
                if let Ok(document) = Document::read(json, server, trust_max) {
                    return Some(self.keep(server, document).await);
                }
            }
        }
        None
    }

    async fn keep(&self, server: &ServerName, document: Document) -> Arc<Document> {
        let record =
            DocumentRecord { json: document.json.clone(), valid_until: document.valid_until };
        let mut batch = Batch::new();
        batch.put::<KeyDocuments>(server.as_str(), (), &record);
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%error, "keys of another server are kept in memory only");
        }
        let document = Arc::new(document);
        self.cache.insert(server.to_owned(), Arc::clone(&document));
        document
    }

    async fn ask_directly(&self, server: &ServerName) -> Option<Bytes> {
        let path = "/_matrix/key/v2/server";
        let answer = self.client.request_unsigned(server, Method::GET, path, None, LIMITS).await;
        let answer =
            answer.inspect_err(|error| tracing::debug!(%server, %error, "no keys")).ok()?;
        answer.status.is_success().then_some(answer.body)
    }

    async fn ask_notary(
        &self,
        notary: &OwnedServerName,
        server: &ServerName,
        now: u64,
    ) -> Vec<Bytes> {
        #[derive(Deserialize)]
        struct Answer {
            server_keys: Vec<Box<RawValue>>,
        }
        let wanted = json!({ "minimum_valid_until_ts": now });
        let body = json!({ "server_keys": { server.as_str(): { "": wanted } } }).to_string();
        let path = "/_matrix/key/v2/query";
        let body = Some(Bytes::from(body));
        let answer = self.client.request_unsigned(notary, Method::POST, path, body, LIMITS).await;
        let Ok(answer) = answer else { return Vec::new() };
        let parsed: Result<Answer, _> = serde_json::from_slice(&answer.body);
        let keys = parsed.map(|answer| answer.server_keys).unwrap_or_default();
        keys.into_iter().map(|keys| Bytes::from(keys.get().to_owned())).collect()
    }
}
