//! `POST /keys/signatures/upload`: signatures of the user's own devices and master key, which
//! everybody sees, and of others' master keys, which only the signer sees ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload

use std::collections::BTreeMap;

use events::PublicKey;
use ruma::{OwnedUserId, UserId};

use super::{
    KEY_OBJECT_BYTES_MAX, KeysError, SIGNED_OBJECTS_MAX, SignedJson, SigningKeys,
    cross_signing::only_key,
    signed::{
        ED25519, add_signature, check_size, has_signature, public_key, signatures_of, signed_part,
        to_bytes,
    },
};
use crate::{Devices, StoreError};

/// By user, and by device id or public key: the object with the new signatures.
pub type SignaturesUpload = BTreeMap<OwnedUserId, BTreeMap<String, SignedJson>>;

/// Of the same shape; what is not in there was stored.
pub type SignatureFailures = BTreeMap<OwnedUserId, BTreeMap<String, SignatureFailure>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFailure {
    #[error("there is no such key")]
    NotFound,
    #[error("the key is another one on this server")]
    Differs,
    /// M_INVALID_SIGNATURE.
    #[error("no signature on it is one that the user may make, or it is wrong")]
    BadSignature,
    #[error("it has too many signatures")]
    TooMany,
}

impl Devices {
    /// Each object is verified and stored by itself; those that were not are returned.
    pub async fn upload_signatures(
        &self,
        user_id: &UserId,
        upload: SignaturesUpload,
    ) -> Result<SignatureFailures, KeysError> {
        if upload.values().map(BTreeMap::len).sum::<usize>() > SIGNED_OBJECTS_MAX {
            return Err(KeysError::TooLarge("too many objects in one upload of signatures"));
        }
        let mut failures = SignatureFailures::new();
        for (target, objects) in upload {
            for (name, object) in objects {
                let stored = if check_size(&object).is_err() {
                    Err(SignatureFailure::TooMany)
                } else if target == user_id {
                    self.sign_own(user_id, &name, &object).await?
                } else {
                    self.sign_other(user_id, &target, &name, &object).await?
                };
                if let Err(failure) = stored {
                    failures.entry(target.clone()).or_default().insert(name, failure);
                }
            }
        }
        // What was submitted is on the disk before the answer, all with one wait.
        self.inner.store.barrier().await?;
        Ok(failures)
    }

    async fn sign_own(
        &self,
        user_id: &UserId,
        name: &str,
        object: &SignedJson,
    ) -> Result<Result<(), SignatureFailure>, StoreError> {
        let store = &self.inner.store;
        let _lock = self.inner.lock(user_id).await;
        let keys = store.latest_signing_keys(user_id).await?;
        if keys.master.as_ref().is_some_and(|master| is_named(master, name)) {
            return self.sign_own_master(user_id, keys, object).await;
        }
        let Some(before) = store.latest_device_keys(user_id, name.into()).await? else {
            return Ok(Err(SignatureFailure::NotFound));
        };
        if signed_part(&before) != signed_part(object) {
            return Ok(Err(SignatureFailure::Differs));
        }
        let Some((key_id, key)) = keys.self_signing.as_ref().and_then(only_key) else {
            return Ok(Err(SignatureFailure::BadSignature));
        };
        let signed = match with_signature(before.clone(), object, user_id, key_id, &key) {
            Ok(signed) => signed,
            Err(failure) => return Ok(Err(failure)),
        };
        if signed != before {
            drop(store.put_signed_device(user_id, name.into(), signed).await?);
        }
        Ok(Ok(()))
    }

    /// The user's devices sign the master key.
    async fn sign_own_master(
        &self,
        user_id: &UserId,
        before: SigningKeys,
        object: &SignedJson,
    ) -> Result<Result<(), SignatureFailure>, StoreError> {
        let store = &self.inner.store;
        let Some(master) = before.master.clone() else {
            return Ok(Err(SignatureFailure::NotFound));
        };
        if signed_part(&master) != signed_part(object) {
            return Ok(Err(SignatureFailure::Differs));
        }
        let (mut signed, mut any) = (master.clone(), false);
        for (key_id, _) in signatures_of(object, user_id) {
            let Some(device_id) = key_id.strip_prefix(ED25519) else { continue };
            let device = store.latest_device_keys(user_id, device_id.into()).await?;
            let Some(key) = device.and_then(|keys| public_key(&keys, key_id)) else { continue };
            signed = match with_signature(signed, object, user_id, key_id, &key) {
                Ok(signed) => signed,
                Err(failure) => return Ok(Err(failure)),
            };
            any = true;
        }
        if !any {
            return Ok(Err(SignatureFailure::BadSignature));
        }
        if signed != master {
            let after = SigningKeys { master: Some(signed), ..before.clone() };
            drop(store.put_signing_keys(user_id, &before, &after).await?);
        }
        Ok(Ok(()))
    }

    /// The user-signing key signs another user's master key.
    async fn sign_other(
        &self,
        user_id: &UserId,
        target: &UserId,
        name: &str,
        object: &SignedJson,
    ) -> Result<Result<(), SignatureFailure>, StoreError> {
        let store = &self.inner.store;
        let master = store.signing_keys(target).await?.master;
        let Some(master) = master.filter(|master| is_named(master, name)) else {
            return Ok(Err(SignatureFailure::NotFound));
        };
        if signed_part(&master) != signed_part(object) {
            return Ok(Err(SignatureFailure::Differs));
        }
        let _lock = self.inner.lock(user_id).await;
        let keys = store.latest_signing_keys(user_id).await?;
        let Some((key_id, key)) = keys.user_signing.as_ref().and_then(only_key) else {
            return Ok(Err(SignatureFailure::BadSignature));
        };
        let signature = signatures_of(object, user_id).find(|(id, _)| *id == key_id);
        let Some((_, signature)) =
            signature.filter(|_| has_signature(object, user_id, key_id, &key))
        else {
            return Ok(Err(SignatureFailure::BadSignature));
        };
        let object_key = format!("{ED25519}{name}");
        drop(store.put_signature(user_id, target, &object_key, key_id, signature)?);
        Ok(Ok(()))
    }
}

/// Whether the text is the public key of a cross-signing key.
fn is_named(key: &SignedJson, name: &str) -> bool {
    only_key(key).is_some_and(|(key_id, _)| key_id.strip_prefix(ED25519) == Some(name))
}

/// `stored` with one signature of `object`, which signs the same.
fn with_signature(
    stored: SignedJson,
    object: &SignedJson,
    user_id: &UserId,
    key_id: &str,
    key: &PublicKey,
) -> Result<SignedJson, SignatureFailure> {
    let signature = signatures_of(object, user_id).find(|(id, _)| *id == key_id);
    let (_, signature) = signature.ok_or(SignatureFailure::BadSignature)?;
    if !has_signature(object, user_id, key_id, key) {
        return Err(SignatureFailure::BadSignature);
    }
    let mut stored = stored;
    add_signature(&mut stored, user_id, key_id, signature);
    let fits = to_bytes(&stored).len() <= KEY_OBJECT_BYTES_MAX && check_size(&stored).is_ok();
    if fits { Ok(stored) } else { Err(SignatureFailure::TooMany) }
}
