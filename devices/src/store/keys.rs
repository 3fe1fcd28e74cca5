//! The tables of end-to-end keys: a user's own, in the user's partition.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Pending, Range, Table, Versioned};

use super::{
    DeviceStore, StoreError, device_list_fact,
    lists::{ListChange, changed_for_fact, one_time_keys_fact, signing_keys_fact},
};
use crate::{
    keys::{SignedJson, SigningKeys},
    stream::SigningKeysFact,
};

/// By user and device: the signed JSON.
pub(super) struct DeviceKeysTable;

impl Table for DeviceKeysTable {
    const NAME: &'static str = "device_keys";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = Bytes;
}

/// By user, local or followed, and usage: the signed JSON.
pub(super) struct SigningKeysTable;

impl Table for SigningKeysTable {
    const NAME: &'static str = "cross_signing_keys";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = Bytes;
}

/// Which one-time keys a device has left, oldest first, and its fallback keys; by algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OneTimeKeys {
    /// Whole `<algorithm>:<key id>`s.
    pub(crate) ids: BTreeMap<String, VecDeque<String>>,
    pub(crate) fallback: BTreeMap<String, FallbackKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FallbackKey {
    pub(crate) id: String,
    pub(crate) body: Bytes,
    pub(crate) used: bool,
}

impl Versioned for OneTimeKeys {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user and device.
pub(super) struct OneTimeKeysTable;

impl Table for OneTimeKeysTable {
    const NAME: &'static str = "one_time_keys";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = OneTimeKeys;
}

/// By user, device and `<algorithm>:<key id>`: the key, JSON.
pub(super) struct OneTimeKeyBodiesTable;

impl Table for OneTimeKeyBodiesTable {
    const NAME: &'static str = "one_time_key_bodies";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = (String, String);
    type Value = Bytes;
}

/// Signatures that only their maker sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SignatureRecord {
    key_id: String,
    signature: String,
}

impl Versioned for SignatureRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By signing user, by whose key is signed and the id of that key.
struct SignaturesTable;

impl Table for SignaturesTable {
    const NAME: &'static str = "key_signatures";
    type Partition = String;
    type Sort = (String, String);
    type Value = SignatureRecord;
}

/// What an upload changes.
#[derive(Default)]
pub(crate) struct UploadedKeys {
    pub(crate) device_keys: Option<SignedJson>,
    pub(crate) one_time: Option<OneTimeKeys>,
    /// New one-time keys.
    pub(crate) bodies: Vec<(String, Bytes)>,
}

const USAGES: [&str; 3] = ["master", "self_signing", "user_signing"];

pub(super) fn to_bytes(object: &SignedJson) -> Bytes {
    serde_json::to_vec(object).expect("canonical JSON is written to memory").into()
}

/// What was written is read back; a row that is damaged counts as none, as nobody could verify it.
pub(super) fn from_bytes(bytes: &Bytes) -> Option<SignedJson> {
    serde_json::from_slice(bytes).ok()
}

impl DeviceStore {
    pub(crate) async fn device_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<SignedJson>, StoreError> {
        let row = self.0.get::<DeviceKeysTable>(&user_id, &device_id).await?;
        Ok(row.as_ref().and_then(from_bytes))
    }

    pub(crate) async fn latest_device_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<SignedJson>, StoreError> {
        let row = self.0.get_latest::<DeviceKeysTable>(&user_id, &device_id).await?;
        Ok(row.as_ref().and_then(from_bytes))
    }

    pub(crate) async fn all_device_keys(
        &self,
        user_id: &UserId,
    ) -> Result<BTreeMap<OwnedDeviceId, SignedJson>, StoreError> {
        let rows = self.0.scan::<DeviceKeysTable>(&user_id, Range::all()).await?;
        let keys =
            rows.into_iter().filter_map(|row| Some((row.sort.into(), from_bytes(&row.value)?)));
        Ok(keys.collect())
    }

    pub(crate) async fn signing_keys(&self, user_id: &UserId) -> Result<SigningKeys, StoreError> {
        let rows = self.0.scan::<SigningKeysTable>(&user_id, Range::all()).await?;
        let mut keys = SigningKeys::default();
        for row in rows {
            if let Some(place) = of_usage(&mut keys, &row.sort) {
                *place = from_bytes(&row.value);
            }
        }
        Ok(keys)
    }

    pub(crate) async fn latest_signing_keys(
        &self,
        user_id: &UserId,
    ) -> Result<SigningKeys, StoreError> {
        let mut keys = SigningKeys::default();
        for usage in USAGES {
            let row = self.0.get_latest::<SigningKeysTable>(&user_id, &usage).await?;
            if let Some(place) = of_usage(&mut keys, usage) {
                *place = row.as_ref().and_then(from_bytes);
            }
        }
        Ok(keys)
    }

    pub(crate) async fn one_time_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<OneTimeKeys, StoreError> {
        let keys = self.0.get::<OneTimeKeysTable>(&user_id, &device_id).await?;
        Ok(keys.unwrap_or_default())
    }

    pub(crate) async fn latest_one_time_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<OneTimeKeys, StoreError> {
        let keys = self.0.get_latest::<OneTimeKeysTable>(&user_id, &device_id).await?;
        Ok(keys.unwrap_or_default())
    }

    pub(crate) async fn latest_one_time_key(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        key_id: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = (&device_id, &key_id);
        Ok(self.0.get_latest::<OneTimeKeyBodiesTable>(&user_id, key).await?)
    }

    /// Under the user's lock. `None` if nothing changes.
    pub(crate) async fn put_keys(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        uploaded: UploadedKeys,
    ) -> Result<Option<Pending>, StoreError> {
        let UploadedKeys { device_keys, one_time, bodies } = uploaded;
        if device_keys.is_none() && one_time.is_none() {
            return Ok(None);
        }
        let change = match device_keys {
            Some(_) => Some(self.list_change(user_id).await?),
            None => None,
        };
        let pending = self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            if let (Some(keys), Some(change)) = (&device_keys, change) {
                batch.put::<DeviceKeysTable>(&user_id, &device_id, &to_bytes(keys));
                batch.fact(device_list_fact(user_id, device_id, false));
                change.write(&mut batch, first, true);
            }
            if let Some(keys) = &one_time {
                batch.put::<OneTimeKeysTable>(&user_id, &device_id, keys);
                for (key_id, body) in &bodies {
                    batch.put::<OneTimeKeyBodiesTable>(&user_id, (&device_id, key_id), body);
                }
                batch.fact(one_time_keys_fact(user_id, device_id));
            }
            Ok(batch)
        })?;
        Ok(Some(pending))
    }

    /// Under the user's lock. `gone` is the one-time key that was taken.
    pub(crate) fn put_claimed(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        keys: &OneTimeKeys,
        gone: Option<&str>,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<OneTimeKeysTable>(&user_id, &device_id, keys);
        if let Some(key_id) = gone {
            batch.delete::<OneTimeKeyBodiesTable>(&user_id, (&device_id, &key_id));
        }
        batch.fact(one_time_keys_fact(user_id, device_id));
        Ok(self.0.submit(batch)?)
    }

    /// Under the user's lock: a device's keys with a signature more.
    pub(crate) async fn put_signed_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        keys: SignedJson,
    ) -> Result<Pending, StoreError> {
        let uploaded = UploadedKeys { device_keys: Some(keys), ..UploadedKeys::default() };
        let pending = self.put_keys(user_id, device_id, uploaded).await?;
        Ok(pending.expect("there is something to write"))
    }

    /// Under the user's lock, for a local user.
    pub(crate) async fn put_signing_keys(
        &self,
        user_id: &UserId,
        before: &SigningKeys,
        after: &SigningKeys,
    ) -> Result<Pending, StoreError> {
        let others = before.master != after.master || before.self_signing != after.self_signing;
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            write_signing_keys(&mut batch, user_id, after);
            if others {
                batch.fact(signing_keys_fact(user_id, &SigningKeysFact { cross_signing: true }));
                change.write(&mut batch, first, false);
            } else {
                batch.fact(changed_for_fact(user_id, user_id));
                ListChange::write_for(&mut batch, user_id, user_id, first);
            }
            Ok(batch)
        })?)
    }

    /// Under the signer's lock.
    pub(crate) fn put_signature(
        &self,
        signer: &UserId,
        target: &UserId,
        object_key: &str,
        key_id: &str,
        signature: &str,
    ) -> Result<Pending, StoreError> {
        let record = SignatureRecord { key_id: key_id.to_owned(), signature: signature.to_owned() };
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            batch.put::<SignaturesTable>(&signer, (&target, &object_key), &record);
            batch.fact(changed_for_fact(signer, target));
            ListChange::write_for(&mut batch, signer, target, first);
            Ok(batch)
        })?)
    }

    /// By the id of the signed key: the signatures, by the id of the signing key.
    pub(crate) async fn signatures_by(
        &self,
        signer: &UserId,
        target: &UserId,
    ) -> Result<BTreeMap<String, Vec<(String, String)>>, StoreError> {
        let rows = self.0.scan::<SignaturesTable>(&signer, Range::prefix((&target,))).await?;
        let mut by_object: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for row in rows {
            let SignatureRecord { key_id, signature } = row.value;
            by_object.entry(row.sort.1).or_default().push((key_id, signature));
        }
        Ok(by_object)
    }

    /// Under the user's lock: what goes with the device.
    pub(super) async fn delete_keys(
        &self,
        batch: &mut Batch,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<(), StoreError> {
        batch.delete::<DeviceKeysTable>(&user_id, &device_id);
        let keys = self.latest_one_time_keys(user_id, device_id).await?;
        for key_id in keys.ids.values().flatten() {
            batch.delete::<OneTimeKeyBodiesTable>(&user_id, (&device_id, key_id));
        }
        batch.delete::<OneTimeKeysTable>(&user_id, &device_id);
        Ok(())
    }
}

pub(super) fn write_signing_keys(batch: &mut Batch, user_id: &UserId, keys: &SigningKeys) {
    let SigningKeys { master, self_signing, user_signing } = keys;
    for (usage, key) in USAGES.into_iter().zip([master, self_signing, user_signing]) {
        match key {
            Some(key) => batch.put::<SigningKeysTable>(&user_id, &usage, &to_bytes(key)),
            None => batch.delete::<SigningKeysTable>(&user_id, &usage),
        };
    }
}

fn of_usage<'k>(keys: &'k mut SigningKeys, usage: &str) -> Option<&'k mut Option<SignedJson>> {
    match usage {
        "master" => Some(&mut keys.master),
        "self_signing" => Some(&mut keys.self_signing),
        "user_signing" => Some(&mut keys.user_signing),
        _ => None,
    }
}

/// Owned, as rows give it.
pub(super) fn user(id: String) -> Option<OwnedUserId> {
    UserId::parse(id).ok()
}
