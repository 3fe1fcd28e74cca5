//! Signatures on JSON that is no event: keys, device keys, third-party invites.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, ServerName, canonical_json::RedactingSerializer,
};

use super::{PublicKey, SignatureError, SigningKey, UNSIGNED_FIELDS, claim::Claim};

/// Adds `server_name`'s signature to `object`.
pub fn sign_json(
    object: &mut CanonicalJsonObject,
    key: &SigningKey,
    server_name: &ServerName,
) -> Result<(), SignatureError> {
    let signature = key.sign(json_to_sign(object)?.as_bytes());
    let signatures = entry_object(object, "signatures")?;
    let of_server = entry_object(signatures, server_name.as_str())?;
    of_server.insert(key.key_id().to_owned(), CanonicalJsonValue::String(signature));
    Ok(())
}

fn entry_object<'o>(
    object: &'o mut CanonicalJsonObject,
    key: &str,
) -> Result<&'o mut CanonicalJsonObject, SignatureError> {
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    match object.entry(key.to_owned()).or_insert_with(empty) {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(SignatureError::MalformedObject(format!("`{key}` is not an object"))),
    }
}

fn json_to_sign(object: &CanonicalJsonObject) -> Result<String, SignatureError> {
    RedactingSerializer::new()
        .custom_redacted_root_fields(UNSIGNED_FIELDS)
        .serialize(object)
        .map_err(|error| SignatureError::MalformedObject(error.to_string()))
}

/// Checks `server_name`'s signature on `object`. `keys` answers with the key of a key id, if it is
/// to be trusted.
pub fn verify_json(
    object: &CanonicalJsonObject,
    server_name: &ServerName,
    keys: impl Fn(&str) -> Option<PublicKey>,
) -> Result<(), SignatureError> {
    let entries = match object.get("signatures") {
        Some(CanonicalJsonValue::Object(signatures)) => signatures.get(server_name.as_str()),
        _ => None,
    };
    let Some(CanonicalJsonValue::Object(entries)) = entries else {
        return Err(SignatureError::Unsigned(server_name.to_owned()));
    };
    let entries = entries.iter().map(|(key_id, signature)| match signature {
        CanonicalJsonValue::String(signature) => (key_id.as_str(), signature.as_str()),
        _ => (key_id.as_str(), ""),
    });
    let message = json_to_sign(object)?;
    let claims = Claim::of_server(server_name, entries, keys)?;
    claims.iter().try_for_each(|claim| claim.check(message.as_bytes()))
}
