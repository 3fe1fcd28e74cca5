//! Whose signature is whose: what is believed of other servers' keys, and what asking costs.

mod documents;
mod notaries;
mod refresh;
mod strangers;

use std::collections::BTreeMap;

use events::SigningKey;
use federation::{Config, KeyRing};
use rooms::ports::{KeyRequest, KeyRing as _, TrustedKey};
use ruma::{CanonicalJsonObject, ServerName};
use serde_json::{Value, json};
use storage::Store;

use crate::net::{HOUR, Net, START, name, our_key};

pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) fn memory() -> Store {
    Store::open(&storage::Config::memory(), 1).expect("memory opens")
}

pub(crate) fn ring_on(net: &Net, config: &Config, store: Store) -> KeyRing {
    KeyRing::new(config, net.client_with(config), store, net.clock.clone(), our_key())
}

pub(crate) fn ring(net: &Net) -> KeyRing {
    ring_on(net, &net.config(), memory())
}

pub(crate) fn key(seed: u8, version: &str) -> SigningKey {
    SigningKey::from_seed(&[seed; 32], version).expect("a key")
}

/// What a server says of its keys.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) fields: Value,
    pub(crate) signers: Vec<(String, SigningKey)>,
}

impl Document {
    /// An honest one, with one key that signs and is valid for a day.
    pub(crate) fn of(server: &str, key: &SigningKey) -> Self {
        let fields = json!({
            "server_name": server,
            "verify_keys": { key.key_id(): { "key": key.public_key().to_base64() } },
            "old_verify_keys": {},
            "valid_until_ts": START + DAY,
        });
        Self { fields, signers: vec![(server.to_owned(), key.clone())] }
    }

    pub(crate) fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.fields.pointer_mut(pointer).expect("such a field") = value.into();
        self
    }

    pub(crate) fn without(mut self, field: &str) -> Self {
        self.fields.as_object_mut().expect("an object").remove(field);
        self
    }

    pub(crate) fn and_key(mut self, id: &str, key: &str) -> Self {
        self.fields["verify_keys"][id] = json!({ "key": key });
        self
    }

    pub(crate) fn and_old(mut self, key: &SigningKey, expired: u64) -> Self {
        let old = json!({ "key": key.public_key().to_base64(), "expired_ts": expired });
        self.fields["old_verify_keys"][key.key_id()] = old;
        self
    }

    pub(crate) fn signed_by(mut self, server: &str, keys: &[&SigningKey]) -> Self {
        self.signers = keys.iter().map(|key| (server.to_owned(), (*key).clone())).collect();
        self
    }

    pub(crate) fn json(&self) -> Value {
        let mut object: CanonicalJsonObject =
            serde_json::from_value(self.fields.clone()).expect("canonical JSON");
        for (server, key) in &self.signers {
            let server = ServerName::parse(server.as_str()).expect("a server name");
            events::sign_json(&mut object, key, &server).expect("an object");
        }
        serde_json::to_value(object).expect("JSON")
    }
}

/// The keys with these ids that are known, as far as they are valid now.
pub(crate) async fn ask(
    ring: &KeyRing,
    server: &str,
    ids: &[&str],
) -> BTreeMap<String, TrustedKey> {
    ask_at(ring, server, ids, START).await
}

pub(crate) async fn ask_at(
    ring: &KeyRing,
    server: &str,
    ids: &[&str],
    valid_at: u64,
) -> BTreeMap<String, TrustedKey> {
    let wanted = ids.iter().map(|id| want(server, id, valid_at)).collect();
    let found = ring.verify_keys(wanted).await;
    found.into_iter().map(|((_, id), key)| (id, key)).collect()
}

pub(crate) fn want(server: &str, id: &str, valid_at: u64) -> KeyRequest {
    KeyRequest { server: name(server), key_id: id.to_owned(), valid_at }
}
