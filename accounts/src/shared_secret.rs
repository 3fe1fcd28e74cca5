//! Registration by a shared secret, as existing tools do it (`/_synapse/admin/v1/register`).

use crate::Accounts;

/// The body of the request. `mac` is hexadecimal HMAC-SHA1.
#[derive(Clone, Copy, Debug)]
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
    #[error("HMAC incorrect")]
    Mac,
}

impl Accounts {
    /// A nonce for one request, good for a minute.
    pub fn shared_secret_nonce(&self) -> Result<String, SharedSecretError> {
        unimplemented!()
    }

    /// Spends the nonce and checks the code. The caller then registers.
    pub fn verify_shared_secret(
        &self,
        _request: SharedSecretRequest<'_>,
    ) -> Result<(), SharedSecretError> {
        unimplemented!()
    }
}
