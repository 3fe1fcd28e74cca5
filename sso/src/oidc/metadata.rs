//! What a provider says about itself ([discovery]), and the keys that it signs with.
//!
//! [discovery]: https://openid.net/specs/openid-connect-discovery-1_0.html

use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use parking_lot::Mutex;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::Oidc;
use crate::{
    SsoError,
    http::{Ask, Http},
};

/// How long an answer is used.
const FRESH_MS: u64 = 60 * 60 * 1000;
/// Keys are not asked for more often than this, whatever tokens name.
const AGAIN_MS: u64 = 30 * 1000;
const KEYS_MAX: usize = 64;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Metadata {
    /// "If omitted, the default is client_secret_basic".
    pub(super) fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
    }
}

/// What was heard, and when. Nobody holds a lock while it is asked for: two may ask at once.
#[derive(Default)]
pub(super) struct Cached {
    metadata: Mutex<Option<(u64, Arc<Metadata>)>>,
    keys: Mutex<Option<(u64, Arc<Vec<Jwk>>)>>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

async fn get<T: DeserializeOwned>(http: &dyn Http, url: &str) -> Result<T, SsoError> {
    let answer = http.ask(Ask::get(url)).await.map_err(SsoError::Provider)?;
    if answer.status != 200 {
        return Err(SsoError::Provider(format!("{url} answered {}", answer.status)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| SsoError::Provider(format!("{url}: {error}")))
}

impl Oidc {
    pub(super) async fn metadata(
        &self,
        http: &dyn Http,
        now: u64,
    ) -> Result<Arc<Metadata>, SsoError> {
        let known = self.cached.metadata.lock().clone();
        if let Some((_, metadata)) = known.filter(|(at, _)| now < at.saturating_add(FRESH_MS)) {
            return Ok(metadata);
        }
        let issuer = self.config.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let metadata: Metadata = get(http, &url).await?;
        // "MUST be identical", but for the slash that operators leave out or add.
        if metadata.issuer.trim_end_matches('/') != issuer {
            let text = format!("{url} is about another issuer, {:?}", metadata.issuer);
            return Err(SsoError::Provider(text));
        }
        let metadata = Arc::new(metadata);
        *self.cached.metadata.lock() = Some((now, metadata.clone()));
        Ok(metadata)
    }

    /// The keys that may have signed a token. Asked for anew where none is called so, since providers
    /// change their keys.
    pub(super) async fn keys(
        &self,
        http: &dyn Http,
        now: u64,
        metadata: &Metadata,
        key_id: Option<&str>,
    ) -> Result<Vec<Jwk>, SsoError> {
        let known = self.cached.keys.lock().clone();
        if let Some((at, keys)) = known {
            let found = matching(&keys, key_id);
            let life = if found.is_empty() { AGAIN_MS } else { FRESH_MS };
            if now < at.saturating_add(life) {
                return Ok(found);
            }
        }
        let set: KeySet = get(http, &metadata.jwks_uri).await?;
        // One of a kind that is not known is no reason to overlook the others.
        let keys = set.keys.into_iter().take(KEYS_MAX);
        let keys: Vec<Jwk> = keys.filter_map(|key| serde_json::from_value(key).ok()).collect();
        let found = matching(&keys, key_id);
        *self.cached.keys.lock() = Some((now, Arc::new(keys)));
        Ok(found)
    }
}

fn matching(keys: &[Jwk], key_id: Option<&str>) -> Vec<Jwk> {
    let is_meant = |key: &&Jwk| key_id.is_none() || key.common.key_id.as_deref() == key_id;
    keys.iter().filter(is_meant).cloned().collect()
}
