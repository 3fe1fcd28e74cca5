//! `GET /_matrix/key/v2/server` as it is read: which keys, until when.

use std::collections::BTreeMap;

use bytes::Bytes;
use events::PublicKey;
use rooms::ports::TrustedKey;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use serde::Deserialize;

/// A key that was published with a product: everybody has the private half (ELEMENTSEC-2025-1670).
const LEAKED: &str = "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og";
/// Keys of one server that are read.
const KEYS_MAX: usize = 64;

/// What a server says of its keys, checked: it has signed it with one of them.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(super) verify_keys: BTreeMap<String, PublicKey>,
    old_keys: BTreeMap<String, TrustedKey>,
    /// Milliseconds. Never more than a week after the document was fetched.
    pub(super) valid_until: u64,
    /// As it was received.
    pub(crate) json: Bytes,
}

#[derive(Deserialize)]
struct Wire {
    server_name: OwnedServerName,
    verify_keys: BTreeMap<String, WireKey>,
    #[serde(default)]
    old_verify_keys: BTreeMap<String, WireOldKey>,
    valid_until_ts: u64,
}

#[derive(Deserialize)]
struct WireKey {
    key: String,
}

#[derive(Deserialize)]
struct WireOldKey {
    key: String,
    expired_ts: u64,
}

impl Document {
    /// `trust_max`: the latest time until which the document may count.
    pub(super) fn read(json: Bytes, server: &ServerName, trust_max: u64) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if wire.server_name != server {
            return Err(format!("the keys are those of {}", wire.server_name));
        }
        let usable = |key: &str| {
            let key = key.trim_end_matches('=');
            if key == LEAKED { None } else { PublicKey::from_base64(key).ok() }
        };
        let verify_keys: BTreeMap<String, PublicKey> = wire
            .verify_keys
            .into_iter()
            .take(KEYS_MAX)
            .filter_map(|(id, key)| Some((id, usable(&key.key)?)))
            .collect();
        let old_keys = wire
            .old_verify_keys
            .into_iter()
            .take(KEYS_MAX)
            .filter_map(|(id, old)| {
                let (key, valid_until) = (usable(&old.key)?, old.expired_ts.min(trust_max));
                Some((id, TrustedKey { key, valid_until }))
            })
            .collect();
        let object: CanonicalJsonObject =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        events::verify_json(&object, server, |id| verify_keys.get(id).copied())
            .map_err(|error| error.to_string())?;
        let valid_until = wire.valid_until_ts.min(trust_max);
        Ok(Self { verify_keys, old_keys, valid_until, json })
    }

    /// For signatures on events, which old keys may have made in their time.
    pub(super) fn event_key(&self, key_id: &str) -> Option<TrustedKey> {
        let current = self.verify_keys.get(key_id);
        let current = current.map(|key| TrustedKey { key: *key, valid_until: self.valid_until });
        current.or_else(|| self.old_keys.get(key_id).copied())
    }
}
