//! Signatures.
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use crate::{Pdu, RoomVersion, BuildError};
pub struct SigningKey;
impl SigningKey {
    /// From 32 random bytes; `version` is the part of the key id behind `ed25519:`.
    pub fn from_seed(_seed: &[u8; 32], _version: &str) -> Result<Self, SignatureError> { unimplemented!() }
    pub fn from_pkcs8(_der: &[u8], _version: &str) -> Result<Self, SignatureError> { unimplemented!() }
    /// The seed, to be stored.
    pub fn to_bytes(&self) -> [u8; 32] { unimplemented!() }
    /// `ed25519:<version>`.
    pub fn key_id(&self) -> &str { unimplemented!() }
    pub fn public_key(&self) -> PublicKey { unimplemented!() }
    /// Signs bytes; unpadded base64.
    pub fn sign(&self, _message: &[u8]) -> String { unimplemented!() }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey;
impl PublicKey {
    pub fn from_base64(_key: &str) -> Result<Self, SignatureError> { unimplemented!() }
    pub fn to_base64(&self) -> String { unimplemented!() }
    pub fn verify(&self, _message: &[u8], _signature_base64: &str) -> Result<(), SignatureError> { unimplemented!() }
}
#[derive(Debug, thiserror::Error)]
pub enum SignatureError { #[error("{0}")] Invalid(&'static str) }
/// Adds `server_name`'s signature to `object`.
pub fn sign_json(_object: &mut CanonicalJsonObject, _key: &SigningKey, _server_name: &ServerName) -> Result<(), SignatureError> { unimplemented!() }
pub fn verify_json(_object: &CanonicalJsonObject, _server_name: &ServerName, _keys: impl Fn(&str) -> Option<PublicKey>) -> Result<(), SignatureError> { unimplemented!() }
pub fn required_servers(_pdu: &Pdu, _version: &RoomVersion) -> Vec<OwnedServerName> { unimplemented!() }
pub fn verify_signatures(_pdu: &Pdu, _version: &RoomVersion, _keys: impl Fn(&ServerName, &str) -> Option<PublicKey>) -> Result<(), SignatureError> { unimplemented!() }
/// The same event with one more server's signature.
pub fn add_signature(_pdu: &Pdu, _key: &SigningKey, _server_name: &ServerName, _version: &RoomVersion) -> Result<Pdu, BuildError> { unimplemented!() }
