//! Who sends a push ([RFC 8292]): tokens that are signed with a key of this server, which apps name
//! when they subscribe.
//!
//! [RFC 8292]: https://www.rfc-editor.org/rfc/rfc8292

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::json;
use stdx::Rng;

use super::encryption::draw_private_key;

/// "MUST NOT be more than 24 hours from the time of the request."
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// "The homeserver should reuse the authorization tokens to permit the push server to cache the
/// results of signature validation", for this time, which leaves room for clocks that disagree.
const REUSED: Duration = Duration::from_secs(6 * 60 * 60);
/// Push services of which the token is kept. A user may name any.
const ORIGINS_KEPT: usize = 256;

pub(crate) struct Vapid {
    key: EcdsaKeyPair,
    /// A point, uncompressed, in base64 for URLs.
    public_key: String,
    /// Whom the operator of a push service may turn to: a URL.
    contact: String,
    /// By origin: the header, and when it was made.
    tokens: Mutex<HashMap<String, (String, u64)>>,
}

impl Vapid {
    pub(crate) fn draw_private_key(rng: &Rng) -> [u8; 32] {
        draw_private_key(rng).1
    }

    /// `None` if that is no key.
    pub(crate) fn new(private_key: &[u8; 32], contact: String) -> Option<Self> {
        let key = PrivateKey::from_private_key(&ECDH_P256, private_key).ok()?;
        let public_key = key.compute_public_key().ok()?;
        let key = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            private_key,
            public_key.as_ref(),
        );
        let public_key = URL_SAFE_NO_PAD.encode(public_key);
        Some(Self { key: key.ok()?, public_key, contact, tokens: Mutex::default() })
    }

    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The header of this name for the push service at an origin. `None` if it cannot be signed, which
    /// only a lack of memory explains.
    pub(crate) fn authorization(&self, origin: &str, now_ms: u64) -> Option<String> {
        let mut tokens = self.tokens.lock();
        let is_fresh = |at: &u64| now_ms.abs_diff(*at) < REUSED.as_millis() as u64;
        if let Some((header, _)) = tokens.get(origin).filter(|(_, at)| is_fresh(at)) {
            return Some(header.clone());
        }
        let header = format!("vapid t={}, k={}", self.token(origin, now_ms)?, self.public_key);
        if tokens.len() >= ORIGINS_KEPT {
            tokens.clear();
        }
        tokens.insert(origin.to_owned(), (header.clone(), now_ms));
        Some(header)
    }

    fn token(&self, origin: &str, now_ms: u64) -> Option<String> {
        let header = json!({ "typ": "JWT", "alg": "ES256" });
        let expires = now_ms / 1000 + LIFETIME.as_secs();
        let claims = json!({ "aud": origin, "exp": expires, "sub": self.contact });
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};
    use stdx::Rng;

    use super::Vapid;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: u64 = 60 * 60 * 1000;

    fn vapid() -> Vapid {
        let key = Vapid::draw_private_key(&Rng::from_seed(1));
        Vapid::new(&key, "https://x.test".to_owned()).expect("a key")
    }

    #[test]
    fn a_token_is_signed_with_the_key_that_is_shown() {
        let vapid = vapid();
        let header = vapid.authorization("https://push.example", NOW).expect("a token");
        let (token, key) =
            header.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("both");
        assert_eq!(key, vapid.public_key());
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(key));
        key.verify(signed.as_bytes(), &decode(signature)).expect("a good signature");
        let (_, claims) = signed.split_once('.').expect("claims");
        let claims: Value = serde_json::from_slice(&decode(claims)).expect("JSON");
        let expires = NOW / 1000 + 12 * 60 * 60;
        let expected =
            json!({ "aud": "https://push.example", "exp": expires, "sub": "https://x.test" });
        assert_eq!(claims, expected);
    }

    #[test]
    fn a_token_is_used_for_hours_and_by_one_push_service() {
        let vapid = vapid();
        let at = |origin: &str, now| vapid.authorization(origin, now).expect("a token");
        let first = at("https://push.example", NOW);
        assert_eq!(at("https://push.example", NOW + 5 * HOUR), first);
        assert_ne!(at("https://other.example", NOW), first);
        assert_ne!(at("https://push.example", NOW + 6 * HOUR), first);
        // A clock that was set back.
        assert_ne!(at("https://push.example", NOW - 6 * HOUR), first);
    }
}
