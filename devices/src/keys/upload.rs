//! `POST /keys/upload`: a device's identity keys, one-time keys and fallback keys ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{CanonicalJsonValue, DeviceId, UserId};

use super::{
    ALGORITHMS_MAX, KEY_ID_BYTES_MAX, KeyCounts, KeysError, ONE_TIME_KEY_BYTES_MAX,
    ONE_TIME_KEYS_MAX, SignedJson,
    signed::{self, check_device_keys, signed_part},
};
use crate::{
    Devices, StoreError,
    store::{FallbackKey, OneTimeKeys, UploadedKeys},
};

/// What a device uploads. Keys are named `<algorithm>:<key id>`.
#[derive(Clone, Debug, Default)]
pub struct KeysUpload {
    pub device_keys: Option<SignedJson>,
    pub one_time_keys: BTreeMap<String, CanonicalJsonValue>,
    pub fallback_keys: BTreeMap<String, CanonicalJsonValue>,
}

impl KeysUpload {
    /// Whether a device that has no keys yet may upload them.
    pub(crate) fn check_for_new(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<(), KeysError> {
        if let Some(keys) = &self.device_keys {
            check_device_keys(keys, user_id, device_id.as_str())?;
        }
        let mut keys = OneTimeKeys::default();
        for key in &self.one_time_keys {
            keys.add(named(key)?, None)?;
        }
        let fallback = self.fallback_keys.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        set_fallback(&mut keys, fallback).map(drop)
    }
}

impl Devices {
    /// All of it or nothing. Others are told if the identity keys changed. Returns what the device
    /// has then.
    pub async fn upload_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        upload: KeysUpload,
    ) -> Result<KeyCounts, KeysError> {
        if let Some(keys) = &upload.device_keys {
            check_device_keys(keys, user_id, device_id.as_str())?;
        }
        let one_time = upload.one_time_keys.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        let fallback = upload.fallback_keys.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        let inner = &self.inner;
        let (counts, pending) = {
            let _lock = inner.lock(user_id).await;
            if inner.store.latest(user_id, device_id).await?.is_none() {
                return Err(KeysError::NoSuchDevice);
            }
            let mut uploaded = UploadedKeys::default();
            if let Some(keys) = upload.device_keys {
                let before = inner.store.latest_device_keys(user_id, device_id).await?;
                uploaded.device_keys = changed(before, keys, user_id);
            }
            let mut keys = inner.store.latest_one_time_keys(user_id, device_id).await?;
            for key in one_time {
                let before = inner.store.latest_one_time_key(user_id, device_id, key.id).await?;
                uploaded.bodies.extend(keys.add(key, before)?);
            }
            let other_fallback = set_fallback(&mut keys, fallback)?;
            let counts = keys.counts();
            if other_fallback || !uploaded.bodies.is_empty() {
                uploaded.one_time = Some(keys);
            }
            (counts, inner.store.put_keys(user_id, device_id, uploaded).await?)
        };
        match pending {
            Some(pending) => drop(pending.await?),
            // The same may have been uploaded by a request that is not answered yet.
            None => inner.store.barrier().await?,
        }
        Ok(counts)
    }

    /// What a device has left, as of what is on the disk.
    pub async fn key_counts(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<KeyCounts, StoreError> {
        Ok(self.inner.store.one_time_keys(user_id, device_id).await?.counts())
    }
}

struct Named<'k> {
    /// The whole `<algorithm>:<key id>`.
    id: &'k str,
    algorithm: &'k str,
    body: Bytes,
}

fn named<'k>((id, key): (&'k String, &CanonicalJsonValue)) -> Result<Named<'k>, KeysError> {
    let Some((algorithm, name)) = id.split_once(':') else {
        return Err(KeysError::Malformed("a key's name is not `<algorithm>:<key id>`"));
    };
    if algorithm.is_empty() || name.is_empty() || id.len() > KEY_ID_BYTES_MAX {
        return Err(KeysError::Malformed("a key's name has an empty part or is too long"));
    }
    if !matches!(key, CanonicalJsonValue::Object(_) | CanonicalJsonValue::String(_)) {
        return Err(KeysError::Malformed("a one-time key is an object or a text"));
    }
    let body = serde_json::to_vec(key).expect("canonical JSON is written to memory");
    if body.len() > ONE_TIME_KEY_BYTES_MAX {
        return Err(KeysError::TooLarge("a one-time key is larger than 8 KiB"));
    }
    Ok(Named { id, algorithm, body: body.into() })
}

/// The keys to be stored, unless they are what is stored. The signatures of others than the device
/// stay as long as what they sign does.
fn changed(before: Option<SignedJson>, keys: SignedJson, user_id: &UserId) -> Option<SignedJson> {
    let mut keys = keys;
    keys.remove("unsigned");
    if let Some(before) = before {
        if signed_part(&before) == signed_part(&keys) {
            for (key_id, signature) in signed::signatures_of(&before, user_id) {
                if !signed::signatures_of(&keys, user_id).any(|(id, _)| id == key_id) {
                    signed::add_signature(&mut keys, user_id, key_id, signature);
                }
            }
        }
        if before == keys {
            return None;
        }
    }
    Some(keys)
}

impl OneTimeKeys {
    /// `before` is what is stored under the name. Returns what is to be stored.
    fn add(
        &mut self,
        key: Named<'_>,
        before: Option<Bytes>,
    ) -> Result<Option<(String, Bytes)>, KeysError> {
        if let Some(before) = before {
            let same = before == key.body;
            return if same { Ok(None) } else { Err(KeysError::KeyExists(key.id.to_owned())) };
        }
        let algorithm = self.ids.entry(key.algorithm.to_owned()).or_default();
        if algorithm.len() >= ONE_TIME_KEYS_MAX {
            return Err(KeysError::Invalid("too many one-time keys"));
        }
        algorithm.push_back(key.id.to_owned());
        if self.ids.len() > ALGORITHMS_MAX {
            return Err(KeysError::Invalid("one-time keys of too many algorithms"));
        }
        Ok(Some((key.id.to_owned(), key.body)))
    }

    pub(super) fn counts(&self) -> KeyCounts {
        let left = self.ids.iter().filter(|(_, ids)| !ids.is_empty());
        let unused = self.fallback.iter().filter(|(_, key)| !key.used);
        KeyCounts {
            one_time: left.map(|(name, ids)| (name.clone(), ids.len() as u64)).collect(),
            unused_fallback: unused.map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// "There can only be at most one key per algorithm uploaded." Returns whether any is another one.
fn set_fallback(keys: &mut OneTimeKeys, fallback: Vec<Named<'_>>) -> Result<bool, KeysError> {
    let mut algorithms = std::collections::BTreeSet::new();
    let mut other = false;
    for key in fallback {
        if !algorithms.insert(key.algorithm) {
            return Err(KeysError::Malformed("more than one fallback key of an algorithm"));
        }
        let before = keys.fallback.get(key.algorithm);
        if before.is_some_and(|before| before.id == key.id && before.body == key.body) {
            continue;
        }
        let new = FallbackKey { id: key.id.to_owned(), body: key.body, used: false };
        keys.fallback.insert(key.algorithm.to_owned(), new);
        other = true;
    }
    if keys.fallback.len() > ALGORITHMS_MAX {
        return Err(KeysError::Invalid("fallback keys of too many algorithms"));
    }
    Ok(other)
}
