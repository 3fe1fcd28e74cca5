//! Signatures on keys: Ed25519 over canonical JSON ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/appendices/#signing-json

use events::PublicKey;
use ruma::{CanonicalJsonObject, CanonicalJsonValue, UserId};

use super::{KEY_OBJECT_BYTES_MAX, KeysError, SIGNATURES_MAX, SignedJson};

pub(super) const ED25519: &str = "ed25519:";

/// What the signatures cover.
pub(super) fn signed_part(object: &SignedJson) -> SignedJson {
    let mut part = object.clone();
    part.remove("signatures");
    part.remove("unsigned");
    part
}

pub(super) fn to_bytes(object: &SignedJson) -> Vec<u8> {
    serde_json::to_vec(object).expect("canonical JSON is written to memory")
}

/// The signatures of one user, by key id.
pub(super) fn signatures_of<'o>(
    object: &'o SignedJson,
    user_id: &UserId,
) -> impl Iterator<Item = (&'o str, &'o str)> {
    let entries = match object.get("signatures") {
        Some(CanonicalJsonValue::Object(all)) => match all.get(user_id.as_str()) {
            Some(CanonicalJsonValue::Object(entries)) => Some(entries),
            _ => None,
        },
        _ => None,
    };
    entries.into_iter().flatten().filter_map(|(key_id, signature)| match signature {
        CanonicalJsonValue::String(signature) => Some((key_id.as_str(), signature.as_str())),
        _ => None,
    })
}

pub(super) fn has_signature(
    object: &SignedJson,
    user_id: &UserId,
    key_id: &str,
    key: &PublicKey,
) -> bool {
    let message = to_bytes(&signed_part(object));
    let mut entries = signatures_of(object, user_id).filter(|(id, _)| *id == key_id);
    entries.any(|(_, signature)| key.verifies(&message, signature))
}

/// Adds a signature of `user_id`. Whoever calls it has verified it.
pub(super) fn add_signature(object: &mut SignedJson, user_id: &UserId, key_id: &str, text: &str) {
    let signatures = entry_object(object, "signatures");
    let entries = entry_object(signatures, user_id.as_str());
    entries.insert(key_id.to_owned(), CanonicalJsonValue::String(text.to_owned()));
}

fn entry_object<'o>(object: &'o mut SignedJson, key: &str) -> &'o mut CanonicalJsonObject {
    let entry = object.entry(key.to_owned()).or_insert(CanonicalJsonValue::Null);
    if !matches!(entry, CanonicalJsonValue::Object(_)) {
        *entry = CanonicalJsonValue::Object(CanonicalJsonObject::new());
    }
    let CanonicalJsonValue::Object(object) = entry else { unreachable!("it was just made one") };
    object
}

pub(super) fn text<'o>(object: &'o SignedJson, field: &str) -> Option<&'o str> {
    match object.get(field) {
        Some(CanonicalJsonValue::String(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn object<'o>(object: &'o SignedJson, field: &str) -> Option<&'o SignedJson> {
    match object.get(field) {
        Some(CanonicalJsonValue::Object(object)) => Some(object),
        _ => None,
    }
}

/// An `ed25519` key of an object's `keys`, if it is one.
pub(super) fn public_key(object_with_keys: &SignedJson, key_id: &str) -> Option<PublicKey> {
    PublicKey::from_base64(text(object(object_with_keys, "keys")?, key_id)?).ok()
}

/// Bounds that hold for every object with signatures.
pub(super) fn check_size(object_with_signatures: &SignedJson) -> Result<(), KeysError> {
    if to_bytes(object_with_signatures).len() > KEY_OBJECT_BYTES_MAX {
        return Err(KeysError::TooLarge("keys are larger than 64 KiB"));
    }
    let Some(by_user) = object(object_with_signatures, "signatures") else { return Ok(()) };
    let count = |entries: &CanonicalJsonValue| match entries {
        CanonicalJsonValue::Object(entries) => entries.len(),
        _ => 1,
    };
    if by_user.values().map(count).sum::<usize>() > SIGNATURES_MAX {
        return Err(KeysError::TooLarge("too many signatures"));
    }
    Ok(())
}

/// Checks that device keys are of this device and have the form of [`DeviceKeys`].
///
/// Whether the device signed them is not looked at: those who encrypt for it must check that
/// themselves, a server that says so is not to be believed, and some clients upload texts that
/// are no signatures.
///
/// [`DeviceKeys`]: https://spec.matrix.org/v1.19/client-server-api/#device-keys
pub(super) fn check_device_keys(
    keys: &SignedJson,
    user_id: &UserId,
    device_id: &str,
) -> Result<(), KeysError> {
    check_size(keys)?;
    if text(keys, "user_id") != Some(user_id.as_str()) {
        return Err(KeysError::Malformed("`user_id` of the device keys is not the device's user"));
    }
    if text(keys, "device_id") != Some(device_id) {
        return Err(KeysError::Malformed("`device_id` of the device keys is not the device"));
    }
    let algorithms = matches!(keys.get("algorithms"), Some(CanonicalJsonValue::Array(all))
        if all.iter().all(|one| matches!(one, CanonicalJsonValue::String(_))));
    if !algorithms {
        return Err(KeysError::Malformed("`algorithms` of the device keys is not a list of texts"));
    }
    let texts = |value: &CanonicalJsonValue| matches!(value, CanonicalJsonValue::String(_));
    if !object(keys, "keys").is_some_and(|all| all.values().all(texts)) {
        return Err(KeysError::Malformed("`keys` of the device keys does not map to texts"));
    }
    let entries = |value: &CanonicalJsonValue| matches!(value, CanonicalJsonValue::Object(all) if all.values().all(texts));
    if !object(keys, "signatures").is_some_and(|all| all.values().all(entries)) {
        return Err(KeysError::Malformed("`signatures` of the device keys has not the right form"));
    }
    Ok(())
}

/// Of other servers' devices: what is kept is bounded, and does not claim to be another device's.
/// What lacks a name is given to clients as it came; they do not believe it.
pub(super) fn check_remote_device_keys(
    keys: &SignedJson,
    user_id: &UserId,
    device_id: &str,
) -> Result<(), KeysError> {
    check_size(keys)?;
    let names = |field, name| !keys.contains_key(field) || text(keys, field) == Some(name);
    if names("user_id", user_id.as_str()) && names("device_id", device_id) {
        Ok(())
    } else {
        Err(KeysError::Malformed("the keys are not of the device"))
    }
}
