//! Our own document, and what we say of others' as a notary.

use bytes::Bytes;
use ruma::{CanonicalJsonObject, ServerName};
use serde_json::json;

use super::{KeyRing, attempts::Asks};

/// How long others may believe our document.
const VALID_MS: u64 = 24 * 60 * 60 * 1000;

impl KeyRing {
    /// The answer of `GET /_matrix/key/v2/server`.
    pub(crate) fn own_document(&self) -> Result<Bytes, String> {
        let inner = &*self.inner;
        let document = json!({
            "server_name": inner.client.server_name(),
            "verify_keys": { inner.key.key_id(): { "key": inner.key.public_key().to_base64() } },
            "old_verify_keys": {},
            "valid_until_ts": inner.clock.now_ms() + VALID_MS,
        });
        self.signed(serde_json::from_value(document).map_err(|error| error.to_string())?)
    }

    /// Another server's document with our signature: fetched if what is known does not count until
    /// `valid_until`, by default until now, but not often; what is known, if nothing better can be
    /// had.
    pub(crate) async fn notarised(
        &self,
        server: &ServerName,
        valid_until: Option<u64>,
    ) -> Option<Bytes> {
        let inner = &*self.inner;
        if server == inner.client.server_name() {
            return self.own_document().ok();
        }
        let now = inner.clock.now_ms();
        let known = inner.known(server).await;
        let valid_until = valid_until.unwrap_or(now);
        let is_fresh = known.as_ref().is_some_and(|document| document.valid_until >= valid_until);
        let document = if is_fresh {
            known
        } else {
            inner.refreshed(server, "", now, Asks::Stranger).await.or(known)
        };
        let object = serde_json::from_slice(&document?.json).ok()?;
        self.signed(object).ok()
    }

    fn signed(&self, mut object: CanonicalJsonObject) -> Result<Bytes, String> {
        let inner = &*self.inner;
        events::sign_json(&mut object, &inner.key, inner.client.server_name())
            .map_err(|error| error.to_string())?;
        serde_json::to_vec(&object).map(Bytes::from).map_err(|error| error.to_string())
    }
}
