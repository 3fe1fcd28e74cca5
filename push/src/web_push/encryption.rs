//! What only the app can read ([RFC 8291]): a key agreed with the subscription's, and one record of
//! `aes128gcm` ([RFC 8188]).
//!
//! [RFC 8291]: https://www.rfc-editor.org/rfc/rfc8291
//! [RFC 8188]: https://www.rfc-editor.org/rfc/rfc8188

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey},
    error::Unspecified,
    hkdf,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use stdx::Rng;

const POINT_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// "An application server MUST encrypt a push message with a single record", which is no larger.
const RECORD_BYTES: u32 = 4096;
/// Salt, size of records, length of the key's id, and the key as the id.
const HEADER_BYTES: usize = SALT_BYTES + 4 + 1 + POINT_BYTES;
/// "A push service is not required to support more than 4096 octets of payload body": of these the
/// header, the delimiter and the tag are taken.
pub(crate) const PLAINTEXT_BYTES_MAX: usize = RECORD_BYTES as usize - HEADER_BYTES - 1 - 16;
/// Ends the last record.
const DELIMITER: u8 = 2;

/// The keys of an app's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// A point of P-256, uncompressed.
    public_key: [u8; POINT_BYTES],
    auth: [u8; AUTH_BYTES],
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(secret: &hkdf::Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    secret.expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

/// A private key of P-256. Nearly every number of this size is one.
pub(super) fn draw_private_key(rng: &Rng) -> (PrivateKey, [u8; 32]) {
    loop {
        let bytes = rng.bytes();
        if let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &bytes) {
            return (key, bytes);
        }
    }
}

impl Subscription {
    /// `None` if these are no keys.
    pub(crate) fn parse(public_key: &str, auth: &str) -> Option<Self> {
        let public_key = URL_SAFE_NO_PAD.decode(public_key).ok()?;
        let public_key: [u8; POINT_BYTES] = public_key.try_into().ok()?;
        let auth = URL_SAFE_NO_PAD.decode(auth).ok()?.try_into().ok()?;
        // Also whether it is on the curve.
        ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, public_key)).ok()?;
        Some(Self { public_key, auth })
    }

    /// `None` if it is longer than [`PLAINTEXT_BYTES_MAX`].
    pub(crate) fn seal(&self, plaintext: &[u8], rng: &Rng) -> Option<Vec<u8>> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return None;
        }
        let (key, _) = draw_private_key(rng);
        self.seal_with(&key, rng.bytes(), plaintext).ok()
    }

    fn seal_with(
        &self,
        key: &PrivateKey,
        salt: [u8; SALT_BYTES],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let own = key.compute_public_key()?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, self.public_key);
        let shared = agreement::agree(key, theirs, Unspecified, |secret| {
            let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &self.auth).extract(secret);
            expand::<32>(&secret, &[b"WebPush: info\0", &self.public_key, own.as_ref()])
        })?;
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&shared);
        let content_key: [u8; 16] = expand(&secret, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce: [u8; 12] = expand(&secret, &[b"Content-Encoding: nonce\0"])?;

        let mut record = [plaintext, &[DELIMITER]].concat();
        // The key is of this message only, so the nonce is used once.
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        sealing.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)?;

        let mut message = Vec::with_capacity(HEADER_BYTES + record.len());
        message.extend_from_slice(&salt);
        message.extend_from_slice(&RECORD_BYTES.to_be_bytes());
        message.push(POINT_BYTES as u8);
        message.extend_from_slice(own.as_ref());
        message.extend_from_slice(&record);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use stdx::Rng;

    use super::{PLAINTEXT_BYTES_MAX, Subscription};

    const PUBLIC_KEY: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).expect("base64")
    }

    /// Appendix A of RFC 8291.
    #[test]
    fn the_example_of_the_rfc() {
        let subscription = Subscription::parse(PUBLIC_KEY, AUTH).expect("good keys");
        let key = decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let key = PrivateKey::from_private_key(&ECDH_P256, &key).expect("a key");
        let salt = decode("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("16 bytes");
        let text = b"When I grow up, I want to be a watermelon";
        let sealed = subscription.seal_with(&key, salt, text).expect("sealed");
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIg\
                        Dll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVB\
                        St2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(sealed), expected);
    }

    #[test]
    fn no_message_is_larger_than_every_push_service_takes() {
        let (subscription, rng) = (Subscription::parse(PUBLIC_KEY, AUTH), Rng::from_seed(1));
        let seal = |bytes: usize| subscription.as_ref()?.seal(&vec![b'x'; bytes], &rng);
        assert_eq!(seal(PLAINTEXT_BYTES_MAX).expect("it fits").len(), 4096);
        assert_eq!(seal(PLAINTEXT_BYTES_MAX + 1), None);
    }

    #[test]
    fn what_is_no_subscription() {
        let mut off_the_curve = decode(PUBLIC_KEY);
        off_the_curve[64] ^= 1;
        let off_the_curve = URL_SAFE_NO_PAD.encode(off_the_curve);
        let compressed = URL_SAFE_NO_PAD.encode(&decode(PUBLIC_KEY)[..33]);
        let padded = format!("{AUTH}==");
        for (key, auth) in [
            ("", AUTH),
            (PUBLIC_KEY, ""),
            (PUBLIC_KEY, "BTBZMqHH6r4Tts7J_aSI"),
            (PUBLIC_KEY, &padded),
            (&off_the_curve, AUTH),
            (&compressed, AUTH),
            ("not base64!", AUTH),
        ] {
            assert_eq!(Subscription::parse(key, auth), None, "{key} {auth}");
        }
    }
}
