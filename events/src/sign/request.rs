//! What `Authorization: X-Matrix` signs: section "Request Authentication" of the server-server API.

use ruma::ServerName;

use super::{PublicKey, SigningKey};
use crate::canonical::{JsonError, canonicalise_deep, write_string};

/// A request between servers, as far as its signature covers it.
#[derive(Clone, Copy, Debug)]
pub struct RequestToSign<'a> {
    /// In upper case.
    pub method: &'a str,
    /// Path and query as on the wire.
    pub uri: &'a str,
    pub origin: &'a ServerName,
    /// `None` if the header has none, as before v1.3 of the specification.
    pub destination: Option<&'a ServerName>,
    /// The body, JSON of any depth; `None` if there is none.
    pub content: Option<&'a [u8]>,
}

/// Why a request is not authentic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the body is not JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the signature is wrong")]
    Wrong,
}

impl RequestToSign<'_> {
    /// The bytes that are signed. Numbers in the body keep the text they came with, since that is
    /// what the other side signed: the rules of events do not hold for bodies.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        let length = self.content.map_or(0, <[u8]>::len);
        let mut out = Vec::with_capacity(length + 512);
        out.push(b'{');
        if let Some(content) = self.content {
            let content = str::from_utf8(content).map_err(|_| JsonError::Utf8)?;
            out.extend_from_slice(b"\"content\":");
            out.extend_from_slice(&canonicalise_deep(content)?);
            out.push(b',');
        }
        if let Some(destination) = self.destination {
            out.extend_from_slice(b"\"destination\":");
            write_string(destination.as_str(), &mut out);
            out.push(b',');
        }
        let rest = [("method", self.method), ("origin", self.origin.as_str()), ("uri", self.uri)];
        for (index, (key, value)) in rest.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(key, &mut out);
            out.push(b':');
            write_string(value, &mut out);
        }
        out.push(b'}');
        Ok(out)
    }
}

/// The `sig` of the header, in unpadded base64.
pub fn sign_request(request: &RequestToSign<'_>, key: &SigningKey) -> Result<String, JsonError> {
    Ok(key.sign(&request.to_bytes()?))
}

/// Whether `signature` is that of the origin's `key` on the request. That the key is valid now, and
/// the destination this server, is for the caller to check.
pub fn verify_request(
    request: &RequestToSign<'_>,
    key: &PublicKey,
    signature: &str,
) -> Result<(), RequestError> {
    let right = key.verifies(&request.to_bytes()?, signature);
    if right { Ok(()) } else { Err(RequestError::Wrong) }
}
