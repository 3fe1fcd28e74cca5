//! Registration by a shared secret, as existing tools do it (`/_synapse/admin/v1/register`).

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{Accounts, once::ShortLived};

const NONCE_LIFETIME: Duration = Duration::from_secs(60);
const NONCES_KEPT: usize = 1_000;
/// 256 bits.
const NONCE_CHARS: usize = 43;

#[derive(Debug)]
pub(crate) struct Nonces(ShortLived<()>);

impl Nonces {
    pub(crate) fn new() -> Self {
        Self(ShortLived::new(NONCE_LIFETIME, NONCES_KEPT))
    }
}

/// The body of the request. `mac` is hexadecimal HMAC-SHA1.
#[derive(Clone, Copy)]
pub struct SharedSecretRequest<'a> {
    pub nonce: &'a str,
    pub username: &'a str,
    pub password: &'a str,
    pub admin: bool,
    pub user_type: Option<&'a str>,
    pub mac: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedSecretError {
    #[error("shared secret registration is not enabled")]
    Disabled,
    #[error("unrecognised nonce")]
    Nonce,
    #[error("a field contains a NUL character")]
    Nul,
    #[error("HMAC incorrect")]
    Mac,
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

impl SharedSecretRequest<'_> {
    fn is_made_with(&self, secret: &[u8]) -> bool {
        let mut expected =
            Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes a key of any length");
        let admin = if self.admin { "admin" } else { "notadmin" };
        let fields = [self.nonce, self.username, self.password, admin];
        for (index, field) in fields.into_iter().chain(self.user_type).enumerate() {
            if index > 0 {
                expected.update(b"\0");
            }
            expected.update(field.as_bytes());
        }
        from_hex(self.mac).is_some_and(|mac| expected.verify_slice(&mac).is_ok())
    }
}

impl Accounts {
    /// A nonce for one request, good for a minute.
    pub fn shared_secret_nonce(&self) -> Result<String, SharedSecretError> {
        let inner = &self.inner;
        if inner.config.registration_shared_secret.is_none() {
            return Err(SharedSecretError::Disabled);
        }
        let nonce = inner.rng.alphanumeric(NONCE_CHARS);
        inner.nonces.0.insert(&nonce, (), inner.clock.now_ms());
        Ok(nonce)
    }

    /// Spends the nonce and checks the code. The caller then registers.
    pub fn verify_shared_secret(
        &self,
        request: SharedSecretRequest<'_>,
    ) -> Result<(), SharedSecretError> {
        let inner = &self.inner;
        let secret = &inner.config.registration_shared_secret;
        let secret = secret.as_ref().ok_or(SharedSecretError::Disabled)?;
        inner.nonces.0.take(request.nonce, inner.clock.now_ms()).ok_or(SharedSecretError::Nonce)?;
        // NUL separates the fields: with it inside, two requests could have one code.
        if request.username.contains('\0') || request.password.contains('\0') {
            return Err(SharedSecretError::Nul);
        }
        request.is_made_with(secret.expose()).then_some(()).ok_or(SharedSecretError::Mac)
    }
}
