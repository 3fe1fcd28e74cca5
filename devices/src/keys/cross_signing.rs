//! `POST /keys/device_signing/upload`: cross-signing keys ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload

use events::PublicKey;
use ruma::{CanonicalJsonValue, DeviceId, UserId};

use super::{
    KeysError, SignedJson, SigningKeys,
    signed::{self, ED25519, check_size, has_signature, public_key, signatures_of, text},
};
use crate::{Devices, StoreError};

pub(crate) const MASTER: &str = "master";
pub(crate) const SELF_SIGNING: &str = "self_signing";
pub(crate) const USER_SIGNING: &str = "user_signing";

/// Keys that are left out stay as they are, except that nothing signed by another master key than
/// the user's outlives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningKeysUpload {
    pub master: Option<SignedJson>,
    pub self_signing: Option<SignedJson>,
    pub user_signing: Option<SignedJson>,
}

impl Devices {
    /// Whether the upload wants user-interactive authentication: it would replace a key of a user
    /// who has a master key (MSC3967).
    pub async fn signing_keys_want_authentication(
        &self,
        user_id: &UserId,
        upload: &SigningKeysUpload,
    ) -> Result<bool, StoreError> {
        let _lock = self.inner.lock(user_id).await;
        Ok(replaces(&self.inner.store.latest_signing_keys(user_id).await?, upload))
    }

    /// Verifies the keys and stores them, and tells everybody who shares a room; of a user-signing
    /// key only the user's own devices.
    pub async fn upload_signing_keys(
        &self,
        user_id: &UserId,
        upload: SigningKeysUpload,
        authenticated: bool,
    ) -> Result<(), KeysError> {
        let kinds = [
            (&upload.master, MASTER),
            (&upload.self_signing, SELF_SIGNING),
            (&upload.user_signing, USER_SIGNING),
        ];
        for (key, usage) in kinds {
            if let Some(key) = key {
                check_signing_key(key, user_id, usage)?;
            }
        }
        let store = &self.inner.store;
        let pending = {
            let _lock = self.inner.lock(user_id).await;
            for (key, _) in kinds {
                if let Some(id) = key.as_ref().and_then(key_name)
                    && store.latest(user_id, id.into()).await?.is_some()
                {
                    return Err(KeysError::IsDevice);
                }
            }
            let before = store.latest_signing_keys(user_id).await?;
            if replaces(&before, &upload) && !authenticated {
                return Err(KeysError::NeedsAuthentication);
            }
            let after = self.after(user_id, &before, upload).await?;
            if after == before {
                None
            } else {
                Some(store.put_signing_keys(user_id, &before, &after).await?)
            }
        };
        match pending {
            Some(pending) => drop(pending.await?),
            None => store.barrier().await?,
        }
        Ok(())
    }

    /// Whether one of the user's cross-signing keys is named as a device would be: in signatures the
    /// two could not be told apart. Under the user's lock.
    pub(crate) async fn is_signing_key(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<bool, StoreError> {
        let keys = self.inner.store.latest_signing_keys(user_id).await?;
        let keys = [keys.master, keys.self_signing, keys.user_signing];
        Ok(keys.iter().flatten().any(|key| key_name(key) == Some(device_id.as_str())))
    }

    async fn after(
        &self,
        user_id: &UserId,
        before: &SigningKeys,
        upload: SigningKeysUpload,
    ) -> Result<SigningKeys, KeysError> {
        let mut after = before.clone();
        if let Some(master) = upload.master {
            after.master = Some(self.with_believed_signatures(user_id, before, master).await?);
        }
        let master = after.master.as_ref().ok_or(KeysError::NoMasterKey)?;
        for (uploaded, key) in [
            (upload.self_signing, &mut after.self_signing),
            (upload.user_signing, &mut after.user_signing),
        ] {
            match uploaded {
                Some(new) if !is_signed_by_master(&new, master, user_id) => {
                    let why = "a cross-signing key is not signed by the master key";
                    return Err(KeysError::BadSignature(why));
                }
                Some(mut new) => {
                    new.remove("unsigned");
                    *key = Some(new);
                }
                None => {
                    if key.as_ref().is_some_and(|key| !is_signed_by_master(key, master, user_id)) {
                        *key = None;
                    }
                }
            }
        }
        Ok(after)
    }

    /// The master key with the signatures of the user's devices; those of others are not for
    /// everybody to see. Those that are known already stay with the key.
    async fn with_believed_signatures(
        &self,
        user_id: &UserId,
        before: &SigningKeys,
        master: SignedJson,
    ) -> Result<SignedJson, KeysError> {
        let believed_part = signed::signed_part(&master);
        let mut believed = believed_part.clone();
        for (key_id, signature) in signatures_of(&master, user_id) {
            let Some(device_id) = key_id.strip_prefix(ED25519) else { continue };
            if public_key(&master, key_id).is_some() {
                // Its own signature says nothing.
                continue;
            }
            let device = self.inner.store.latest_device_keys(user_id, device_id.into()).await?;
            let Some(key) = device.and_then(|keys| public_key(&keys, key_id)) else { continue };
            if !has_signature(&master, user_id, key_id, &key) {
                return Err(KeysError::BadSignature("a device's signature is wrong"));
            }
            signed::add_signature(&mut believed, user_id, key_id, signature);
        }
        let same = |before: &&SignedJson| signed::signed_part(before) == believed_part;
        if let Some(before) = before.master.as_ref().filter(same) {
            for (key_id, signature) in signatures_of(before, user_id) {
                signed::add_signature(&mut believed, user_id, key_id, signature);
            }
        }
        Ok(believed)
    }
}

/// The public key, by which the key is named as a device is by its id.
fn key_name(key: &SignedJson) -> Option<&str> {
    only_key(key)?.0.strip_prefix(ED25519)
}

fn replaces(before: &SigningKeys, upload: &SigningKeysUpload) -> bool {
    let other = |before: &Option<SignedJson>, new: &Option<SignedJson>| {
        let part = |key: &Option<SignedJson>| key.as_ref().map(signed::signed_part);
        new.is_some() && part(before) != part(new)
    };
    before.master.is_some()
        && (other(&before.master, &upload.master)
            || other(&before.self_signing, &upload.self_signing)
            || other(&before.user_signing, &upload.user_signing))
}

/// The one public key of a cross-signing key, and its id.
pub(super) fn only_key(key: &SignedJson) -> Option<(&str, PublicKey)> {
    let keys = signed::object(key, "keys").filter(|keys| keys.len() == 1)?;
    let (key_id, value) = keys.first_key_value()?;
    let CanonicalJsonValue::String(value) = value else { return None };
    let named = key_id.strip_prefix(ED25519)? == value;
    named.then(|| Some((key_id.as_str(), PublicKey::from_base64(value).ok()?)))?
}

/// Checks that the key is `user_id`'s and for `usage`, and that it has the form of a
/// [`CrossSigningKey`](https://spec.matrix.org/v1.19/client-server-api/#cross-signing).
pub(super) fn check_signing_key(
    key: &SignedJson,
    user_id: &UserId,
    usage: &str,
) -> Result<(), KeysError> {
    check_size(key)?;
    if text(key, "user_id") != Some(user_id.as_str()) {
        return Err(KeysError::Invalid("`user_id` of a cross-signing key is not the user's"));
    }
    let is_usage =
        |one: &CanonicalJsonValue| matches!(one, CanonicalJsonValue::String(one) if one == usage);
    let usages = matches!(key.get("usage"), Some(CanonicalJsonValue::Array(all)) if all.iter().any(is_usage));
    if !usages {
        return Err(KeysError::Invalid("`usage` of a cross-signing key is another one"));
    }
    match only_key(key) {
        Some(_) => Ok(()),
        None => {
            Err(KeysError::Invalid("a cross-signing key has one Ed25519 key, named after itself"))
        }
    }
}

pub(super) fn is_signed_by_master(key: &SignedJson, master: &SignedJson, user_id: &UserId) -> bool {
    let master = only_key(master);
    master.is_some_and(|(key_id, public)| has_signature(key, user_id, key_id, &public))
}
