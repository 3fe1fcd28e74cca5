//! What an ID token has to be before it is believed ([spec]).
//!
//! [spec]: https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use super::{Oidc, metadata::Metadata};
use crate::{
    SsoError,
    http::Http,
    template::{Claims, claim},
};

/// Seconds that the provider's clock may differ from ours.
const LEEWAY: f64 = 120.0;

/// Whose token it has to be.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

fn invalid(reason: impl Into<String>) -> SsoError {
    SsoError::InvalidProof(format!("ID token: {}", reason.into()))
}

/// Signatures that only the provider can make. What a secret shared with it signs, or nothing does,
/// proves nothing.
fn is_asymmetric(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

impl Oidc {
    pub(super) async fn verify(
        &self,
        http: &dyn Http,
        now: u64,
        metadata: &Metadata,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, SsoError> {
        let header =
            jsonwebtoken::decode_header(token).map_err(|error| invalid(error.to_string()))?;
        if !is_asymmetric(header.alg) {
            return Err(invalid("the algorithm is not accepted"));
        }
        let keys = self.keys(http, now, metadata, header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        // The claims are checked below, by our clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = keys.iter().find_map(|key| {
            let key = DecodingKey::from_jwk(key).ok()?;
            jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()
        });
        let claims = decoded.ok_or_else(|| invalid("no key of the provider signed it"))?.claims;
        expected.check(&claims, now)?;
        Ok(claims)
    }
}

impl Expected<'_> {
    fn check(&self, claims: &Claims, now_ms: u64) -> Result<(), SsoError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(self.issuer) {
            return Err(invalid("wrong issuer"));
        }
        let is_ours = |value: &Value| value.as_str() == Some(self.client_id);
        let for_us = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us || claims.get("azp").is_some_and(|azp| !is_ours(azp)) {
            return Err(invalid("it is meant for somebody else"));
        }
        if text("nonce") != Some(self.nonce) {
            return Err(invalid("wrong nonce"));
        }
        if claim(claims, "sub").is_none() {
            return Err(invalid("it has no subject"));
        }
        self.check_times(claims, now_ms)
    }

    fn check_times(&self, claims: &Claims, now_ms: u64) -> Result<(), SsoError> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in f64")]
        let now = now_ms as f64 / 1000.0;
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let expires = time("exp").ok_or_else(|| invalid("it never expires"))?;
        if now >= expires + LEEWAY {
            return Err(invalid("it has expired"));
        }
        if ["iat", "nbf"].into_iter().filter_map(time).any(|at| at > now + LEEWAY) {
            return Err(invalid("it is of the future"));
        }
        Ok(())
    }
}
