//! A signature that is there and has to be right.

use ed25519_dalek::Verifier as _;
use ruma::{OwnedServerName, ServerName};

use super::{PublicKey, SignatureError, decode};

pub(super) struct Claim {
    server_name: OwnedServerName,
    key_id: String,
    pub(super) key: PublicKey,
    pub(super) signature: ed25519_dalek::Signature,
}

impl Claim {
    /// `entries` are key ids and signatures. "If there are no signing key identifiers left then the
    /// check fails"; of those with a known key, every signature must be right.
    pub(super) fn of_server<'e>(
        server_name: &ServerName,
        entries: impl Iterator<Item = (&'e str, &'e str)>,
        keys: impl Fn(&str) -> Option<PublicKey>,
    ) -> Result<Vec<Self>, SignatureError> {
        let mut claims = Vec::with_capacity(1);
        for (key_id, signature) in entries.filter(|(key_id, _)| key_id.starts_with("ed25519:")) {
            let Some(key) = keys(key_id) else { continue };
            let (server_name, key_id) = (server_name.to_owned(), key_id.to_owned());
            match decode(signature) {
                Some(signature) => claims.push(Self { server_name, key_id, key, signature }),
                None => return Err(SignatureError::Wrong(server_name, key_id)),
            }
        }
        if claims.is_empty() {
            return Err(SignatureError::UnknownKey(server_name.to_owned()));
        }
        Ok(claims)
    }

    pub(super) fn check(&self, message: &[u8]) -> Result<(), SignatureError> {
        self.key
            .0
            .verify(message, &self.signature)
            .map_err(|_| SignatureError::Wrong(self.server_name.clone(), self.key_id.clone()))
    }
}
