//! `org.matrix.login.jwt`: login by a token that somebody else signed.

use crate::Accounts;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtIdentity {
    /// Lower case, valid as a user name.
    pub localpart: String,
    pub display_name: Option<String>,
}

/// Every failure is the same to the client: M_FORBIDDEN, "JWT validation failed: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtLoginError {
    #[error("login by JWT is not enabled")]
    Disabled,
    #[error("JWT validation failed: {0}")]
    Invalid(String),
}

impl Accounts {
    pub fn has_jwt_login(&self) -> bool {
        self.inner.config.jwt.is_some()
    }

    pub fn verify_login_jwt(&self, _token: &str) -> Result<JwtIdentity, JwtLoginError> {
        unimplemented!()
    }
}
