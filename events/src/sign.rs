//! Ed25519 keys and the signatures on events and on other JSON.
//!
//! Whose signature an event needs is a rule and lives here; which keys are valid when is knowledge
//! of the caller, who answers for one server and key id at a time.

use base64::Engine as _;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, Verifier as _, pkcs8::DecodePrivateKey as _};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, ServerName, UserId,
    canonical_json::RedactingSerializer,
};

use crate::{
    BuildError, Pdu, RoomVersion,
    canonical::{Object, Value},
    hash::BASE64,
    redact::write_redacted,
};

/// Signatures of one server on one event whose keys are asked for; more are a waste of everybody's
/// time.
const MAX_KEYS_PER_SERVER: usize = 8;
/// Signatures cover everything but these.
const UNSIGNED_FIELDS: &[&str] = &["signatures", "unsigned"];

/// A server's key for signing.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    key_id: Box<str>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("malformed key: {0}")]
    MalformedKey(&'static str),
    #[error("the object could not be written as canonical JSON: {0}")]
    MalformedObject(String),
    #[error("no signature of {0}")]
    Unsigned(OwnedServerName),
    #[error("no signature of {0} with a known key")]
    UnknownKey(OwnedServerName),
    #[error("the signature of {0} with {1} is wrong")]
    Wrong(OwnedServerName, String),
}

impl SigningKey {
    /// From 32 random bytes; `version` is the part of the key id behind `ed25519:`.
    pub fn from_seed(seed: &[u8; 32], version: &str) -> Result<Self, SignatureError> {
        Self::new(ed25519_dalek::SigningKey::from_bytes(seed), version)
    }

    /// From a PKCS #8 document in DER.
    pub fn from_pkcs8(der: &[u8], version: &str) -> Result<Self, SignatureError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_der(der)
            .map_err(|_| SignatureError::MalformedKey("not an Ed25519 key in PKCS #8"))?;
        Self::new(key, version)
    }

    fn new(key: ed25519_dalek::SigningKey, version: &str) -> Result<Self, SignatureError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if version.is_empty() || !version.bytes().all(allowed) {
            return Err(SignatureError::MalformedKey("a key version is of the form [a-zA-Z0-9_]+"));
        }
        Ok(Self { key, key_id: format!("ed25519:{version}").into() })
    }

    /// The seed, to be stored.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// `ed25519:<version>`
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The signature of `message`, in unpadded base64.
    pub fn sign(&self, message: &[u8]) -> String {
        BASE64.encode(self.key.sign(message).to_bytes())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A key for verifying, decoded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    pub fn from_base64(key: &str) -> Result<Self, SignatureError> {
        let bytes = BASE64.decode(key).map_err(|_| SignatureError::MalformedKey("not base64"))?;
        Self::from_bytes(&bytes)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes =
            bytes.try_into().map_err(|_| SignatureError::MalformedKey("not 32 bytes long"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes);
        key.map(Self).map_err(|_| SignatureError::MalformedKey("not a point of the curve"))
    }

    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0.as_bytes())
    }

    /// Whether `signature`, in base64, is this key's of `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let bytes = BASE64.decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = bytes.map(|bytes: [u8; 64]| ed25519_dalek::Signature::from_bytes(&bytes));
        signature.is_some_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

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
    verify_entries(json_to_sign(object)?.as_bytes(), server_name, entries, keys)
}

/// "If there are no signing key identifiers left then the check fails"; of those with a known key,
/// every signature must be right.
fn verify_entries<'e>(
    message: &[u8],
    server_name: &ServerName,
    entries: impl Iterator<Item = (&'e str, &'e str)>,
    keys: impl Fn(&str) -> Option<PublicKey>,
) -> Result<(), SignatureError> {
    let mut verified = false;
    for (key_id, signature) in entries.filter(|(key_id, _)| key_id.starts_with("ed25519:")) {
        let Some(key) = keys(key_id) else { continue };
        if !key.verifies(message, signature) {
            return Err(SignatureError::Wrong(server_name.to_owned(), key_id.to_owned()));
        }
        verified = true;
    }
    if verified { Ok(()) } else { Err(SignatureError::UnknownKey(server_name.to_owned())) }
}

/// The servers that must have signed an event.
pub fn required_servers(pdu: &Pdu, version: &RoomVersion) -> Vec<OwnedServerName> {
    let mut servers = Vec::with_capacity(1);
    let content = pdu.content_object();
    let is_member = pdu.event_type() == "m.room.member";
    let has = |key| is_member && content.get(key).is_some();
    let membership = content.get("membership").and_then(Value::as_str);
    // An invite that came about through a third party is not made by the inviter's server.
    if !(membership == Some("invite") && has("third_party_invite")) {
        servers.push(pdu.sender().server_name().to_owned());
    }
    if version.event_id_in_pdu()
        && let Some(server_name) = pdu.event_id().server_name()
    {
        servers.push(server_name.to_owned());
    }
    // A value that is no user id has no server that could sign; the authorisation rules refuse it.
    if version.restricted_joins()
        && has("join_authorised_via_users_server")
        && let Some(user) = content.get("join_authorised_via_users_server")
        && let Some(user) = user.as_str().and_then(|user| <&UserId>::try_from(user).ok())
    {
        servers.push(user.server_name().to_owned());
    }
    servers.sort();
    servers.dedup();
    servers
}

/// The servers and key ids of the signatures that [`verify_signatures`] will look at.
pub fn required_keys(pdu: &Pdu, version: &RoomVersion) -> Vec<(OwnedServerName, String)> {
    let event = pdu.to_object();
    let signatures = event.get("signatures").and_then(Value::as_object);
    let mut keys = Vec::with_capacity(1);
    for server_name in required_servers(pdu, version) {
        let entries = signatures
            .and_then(|signatures| signatures.get(server_name.as_str()))
            .and_then(Value::as_object);
        let ids = entries.into_iter().flat_map(Object::iter).map(|(key_id, _)| key_id);
        keys.extend(
            ids.filter(|key_id| key_id.starts_with("ed25519:"))
                .take(MAX_KEYS_PER_SERVER)
                .map(|key_id| (server_name.clone(), key_id.to_owned())),
        );
    }
    keys
}

/// Checks the signatures of all servers that must have signed the event. `keys` answers with the
/// key of a server and key id, if it is to be trusted at the event's `origin_server_ts` (which
/// matters where the version [enforces](RoomVersion::enforces_key_validity) it).
pub fn verify_signatures(
    pdu: &Pdu,
    version: &RoomVersion,
    keys: impl Fn(&ServerName, &str) -> Option<PublicKey>,
) -> Result<(), SignatureError> {
    let event = pdu.to_object();
    let message = message_to_sign(&event, version);
    let signatures = event.get("signatures").and_then(Value::as_object);
    for server_name in required_servers(pdu, version) {
        let entries = signatures
            .and_then(|signatures| signatures.get(server_name.as_str()))
            .and_then(Value::as_object)
            .ok_or_else(|| SignatureError::Unsigned(server_name.clone()))?;
        let entries = entries
            .iter()
            .map(|(key_id, signature)| (key_id, signature.as_str().unwrap_or_default()));
        verify_entries(&message, &server_name, entries, |key_id| keys(&server_name, key_id))?;
    }
    Ok(())
}

/// The same event with one more server's signature.
pub fn add_signature(
    pdu: &Pdu,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Result<Pdu, BuildError> {
    let bytes = sign_event(&pdu.to_object(), key, server_name, version);
    Ok(Pdu::from_json(Bytes::from(bytes), version)?)
}

fn message_to_sign(event: &Object<'_>, version: &RoomVersion) -> Vec<u8> {
    let mut message = Vec::with_capacity(1024);
    write_redacted(event, version, UNSIGNED_FIELDS, &mut message);
    message
}

/// The event with a signature added, as canonical JSON.
pub(crate) fn sign_event(
    event: &Object<'_>,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Vec<u8> {
    let signature = key.sign(&message_to_sign(event, version));
    let mut signatures =
        event.get("signatures").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut of_server = signatures
        .get(server_name.as_str())
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    of_server.insert(key.key_id(), Value::String(signature.into()));
    signatures.insert(server_name.as_str(), Value::Object(of_server));
    let mut event = event.clone();
    event.insert("signatures", Value::Object(signatures));
    let mut bytes = Vec::with_capacity(1024);
    event.write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use ruma::server_name;

    use super::{SigningKey, sign_event};
    use crate::{
        RoomVersion,
        canonical::{MAX_LEVELS, Numbers, Value, parse_within},
        hash::{BASE64, content_hash},
    };

    /// The specification's vector for an event with redactable content, which lacks fields that a
    /// PDU must have and so is not one.
    #[test]
    fn specified_signature_of_an_event_with_content() {
        let seed = BASE64.decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap(), "1").unwrap();
        let text = r#"{"content":{"body":"Here is the message content"},"event_id":"$0:domain",
            "origin":"domain","origin_server_ts":1000000,"type":"m.room.message",
            "room_id":"!r:domain","sender":"@u:domain","signatures":{},
            "unsigned":{"age_ts":1000000}}"#;
        let mut event =
            parse_within(text, Numbers::Strict, MAX_LEVELS).unwrap().into_object().unwrap();
        let hash = BASE64.encode(content_hash(&event));
        assert_eq!(hash, "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g");
        let hashes = format!(r#"{{"sha256":"{hash}"}}"#);
        event.insert("hashes", parse_within(&hashes, Numbers::Strict, 1).unwrap());

        let version = RoomVersion::parse("1").unwrap();
        let signed = sign_event(&event, &key, server_name!("domain"), version);
        let signed = parse_within(str::from_utf8(&signed).unwrap(), Numbers::Strict, MAX_LEVELS);
        let signed = signed.unwrap().into_object().unwrap();
        let signature = signed
            .get("signatures")
            .and_then(|all| all.as_object()?.get("domain")?.as_object()?.get("ed25519:1"))
            .and_then(Value::as_str);
        assert_eq!(
            signature,
            Some(
                "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVP\
                 dhzBA"
            )
        );
    }
}
