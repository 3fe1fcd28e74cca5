//! Ed25519 keys and the signatures on events, on requests and on other JSON.
//!
//! Whose signature an event needs is a rule and lives here; which keys are valid when is knowledge
//! of the caller, who answers for one server and key id at a time.

mod batch;
mod claim;
mod event;
mod json;
mod policy;
mod request;

use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use ed25519_dalek::{Verifier as _, pkcs8::DecodePrivateKey as _};
use ruma::OwnedServerName;

pub(crate) use self::event::sign_event;
pub use self::{
    batch::verify_signatures_batch,
    event::{
        add_signature, required_keys, required_servers, signature_keys, verify_signature_of,
        verify_signatures,
    },
    json::{sign_json, verify_json},
    policy::{PolicyServer, policy_signature},
    request::{RequestError, RequestToSign, sign_request, verify_request},
};
use crate::hash::BASE64;

/// Signatures cover everything but these.
const UNSIGNED_FIELDS: &[&str] = &["signatures", "unsigned"];

/// A server's key for signing.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    /// The same. Signs in half the time; a signature is a sixth of what a message costs.
    signer: Arc<Ed25519KeyPair>,
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
        let signer = Ed25519KeyPair::from_seed_unchecked(key.as_bytes())
            .map_err(|_| SignatureError::MalformedKey("not an Ed25519 seed"))?;
        Ok(Self { key, signer: Arc::new(signer), key_id: format!("ed25519:{version}").into() })
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
        BASE64.encode(self.signer.sign(message))
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
        decode(signature).is_some_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

fn decode(signature: &str) -> Option<ed25519_dalek::Signature> {
    let bytes: [u8; 64] = BASE64.decode(signature).ok()?.try_into().ok()?;
    Some(ed25519_dalek::Signature::from_bytes(&bytes))
}
