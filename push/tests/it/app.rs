//! The app at the other end of Web Push: it subscribes, and reads what it is pushed.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    hmac::{HMAC_SHA256, Key, sign},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

pub(crate) struct App {
    key: PrivateKey,
    public_key: Vec<u8>,
    auth: [u8; 16],
}

impl App {
    pub(crate) fn new(seed: u8) -> Self {
        let key = PrivateKey::from_private_key(&ECDH_P256, &[seed; 32]).expect("a key");
        let public_key = key.compute_public_key().expect("a key").as_ref().to_vec();
        Self { key, public_key, auth: [seed; 16] }
    }

    pub(crate) fn pushkey(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public_key)
    }

    pub(crate) fn auth(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.auth)
    }

    /// RFC 8291, from the other side. `None` if it is not for this app.
    pub(crate) fn open(&self, body: &[u8]) -> Option<Value> {
        let (salt, rest) = body.split_at(16);
        let (header, rest) = rest.split_at(5);
        assert_eq!(header, [0, 0, 16, 0, 65], "the size of records, and of the key");
        let (theirs, sealed) = rest.split_at(65);
        let theirs_parsed = UnparsedPublicKey::new(&ECDH_P256, theirs);
        let secret = agree(&self.key, theirs_parsed, (), |secret| Ok(secret.to_vec())).ok()?;
        let hash = |key: &[u8], parts: &[&[u8]]| {
            sign(&Key::new(HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
        };
        let secret = hash(&self.auth, &[&secret]);
        let info: [&[u8]; 4] = [b"WebPush: info\0", &self.public_key, theirs, &[1]];
        let secret = hash(salt, &[&hash(&secret, &info)]);
        let content_key = hash(&secret, &[b"Content-Encoding: aes128gcm\0\x01"]);
        let nonce = hash(&secret, &[b"Content-Encoding: nonce\0\x01"]);
        let opening = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key[..16]).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).ok()?;
        let mut record = sealed.to_vec();
        let opened = opening.open_in_place(nonce, Aad::empty(), &mut record).ok()?;
        let text = opened.strip_suffix(&[2]).expect("the last record");
        Some(serde_json::from_slice(text).expect("JSON"))
    }
}
