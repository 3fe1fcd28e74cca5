//! The form of access and refresh tokens. What they are worth is decided by `sessions.rs`.
//!
//! An access token is a compact EdDSA JWT with a prefix that scanners recognise. A refresh token is
//! a keyed hash of what it stands for: nothing about it is stored, and a repeated refresh gives the
//! same answer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use stdx::Rng;

use crate::store::{AccountStore, KeyRecord, StoreError};

const ACCESS_PREFIX: &str = "mrd_";
const REFRESH_PREFIX: &str = "mrr_";
/// Ours are half as long.
const TOKEN_BYTES_MAX: usize = 512;
/// Session, generation, keyed hash.
const REFRESH_BYTES: usize = 8 + 4 + 32;

/// What an access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(rename = "s")]
    pub(crate) session: u64,
    #[serde(rename = "g")]
    pub(crate) generation: u32,
    /// Seconds since the epoch.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
}

#[derive(Deserialize)]
struct Header {
    kid: String,
}

struct TokenKey {
    number: u32,
    /// The encoded JWT header.
    header: String,
    signing: SigningKey,
    verifying: VerifyingKey,
    refresh_secret: [u8; 32],
}

impl TokenKey {
    fn new(number: u32, record: &KeyRecord) -> Self {
        let signing = SigningKey::from_bytes(&record.signing_seed);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{number}"}}"#);
        Self {
            number,
            header: URL_SAFE_NO_PAD.encode(header),
            verifying: signing.verifying_key(),
            signing,
            refresh_secret: record.refresh_secret,
        }
    }

    fn refresh_mac(&self, session: u64, generation: u32) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.refresh_secret)
            .expect("HMAC takes a key of any length");
        mac.update(&session.to_be_bytes());
        mac.update(&generation.to_be_bytes());
        mac
    }
}

/// An access token whose claims have been read but whose signature has not been checked.
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    header: &'a str,
    signature: &'a str,
    pub(crate) claims: Claims,
}

/// The newest key makes tokens; all are good for checking them.
pub(crate) struct TokenKeys {
    keys: Vec<TokenKey>,
}

impl TokenKeys {
    /// Reads the keys, or makes the first.
    pub(crate) async fn load(
        store: &AccountStore,
        rng: &Rng,
        now: u64,
    ) -> Result<Self, StoreError> {
        let mut records = store.keys().await?;
        if records.is_empty() {
            let record = KeyRecord {
                signing_seed: rng.bytes(),
                refresh_secret: rng.bytes(),
                created_ts: now,
            };
            store.put_key(1, &record).await?;
            records.push((1, record));
        }
        let keys = records.iter().map(|(number, record)| TokenKey::new(*number, record));
        Ok(Self { keys: keys.collect() })
    }

    fn newest(&self) -> &TokenKey {
        self.keys.last().expect("there is at least one key")
    }

    pub(crate) fn access_token(&self, claims: &Claims) -> String {
        let key = self.newest();
        let claims = serde_json::to_vec(claims).expect("claims are numbers");
        let signed = format!("{}.{}", key.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = key.signing.sign(signed.as_bytes()).to_bytes();
        format!("{ACCESS_PREFIX}{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn parse_access_token<'a>(&self, token: &'a str) -> Option<Unverified<'a>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let jwt = token.strip_prefix(ACCESS_PREFIX)?;
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(Unverified { signed, header, signature, claims })
    }

    pub(crate) fn is_signed(&self, token: &Unverified<'_>) -> bool {
        self.verify(token).is_some()
    }

    fn verify(&self, token: &Unverified<'_>) -> Option<()> {
        // Any header but our own is refused, so nobody chooses the algorithm.
        let key = match self.keys.iter().find(|key| key.header == token.header) {
            Some(key) => key,
            None => {
                let header = URL_SAFE_NO_PAD.decode(token.header).ok()?;
                let header: Header = serde_json::from_slice(&header).ok()?;
                tracing::debug!(key.id = header.kid, "an access token names an unknown key");
                return None;
            }
        };
        let signature = URL_SAFE_NO_PAD.decode(token.signature).ok()?;
        let signature = Signature::from_slice(&signature).ok()?;
        key.verifying.verify_strict(token.signed.as_bytes(), &signature).ok()
    }

    /// With the newest key. What is signed must not look like an access token's claims.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; Signature::BYTE_SIZE] {
        self.newest().signing.sign(message).to_bytes()
    }

    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        self.keys.iter().any(|key| key.verifying.verify_strict(message, &signature).is_ok())
    }

    pub(crate) fn refresh_token(&self, session: u64, generation: u32) -> String {
        let mac = self.newest().refresh_mac(session, generation).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(REFRESH_BYTES);
        bytes.extend_from_slice(&session.to_be_bytes());
        bytes.extend_from_slice(&generation.to_be_bytes());
        bytes.extend_from_slice(&mac);
        format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The session and generation of a refresh token that we made.
    pub(crate) fn verify_refresh_token(&self, token: &str) -> Option<(u64, u32)> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(REFRESH_PREFIX)?).ok()?;
        let (session, rest) = bytes.split_first_chunk::<8>()?;
        let (generation, mac) = rest.split_first_chunk::<4>()?;
        let session = u64::from_be_bytes(*session);
        let generation = u32::from_be_bytes(*generation);
        let made_by =
            |key: &TokenKey| key.refresh_mac(session, generation).verify_slice(mac).is_ok();
        self.keys.iter().any(made_by).then_some((session, generation))
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.number)).finish()
    }
}
