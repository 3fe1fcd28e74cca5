//! `org.matrix.login.jwt`: login by a token that somebody else signed.

use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::{Accounts, JwtKey, JwtLogin, username};

/// Seconds that the issuer's clock may differ from ours.
const LEEWAY: f64 = 120.0;

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

fn invalid(reason: impl Into<String>) -> JwtLoginError {
    JwtLoginError::Invalid(reason.into())
}

pub(crate) struct JwtVerifier {
    config: JwtLogin,
    key: DecodingKey,
    validation: Validation,
}

impl JwtVerifier {
    pub(crate) fn new(config: JwtLogin) -> Result<Self, String> {
        let key = decoding_key(&config)?;
        let mut validation = Validation::new(config.algorithm);
        // Signature and algorithm are checked there; time and the claims here, by our clock and
        // with Synapse's rules.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Ok(Self { config, key, validation })
    }

    pub(crate) fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, JwtLoginError> {
        let decoded =
            jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let claims = Claims(decoded.map_err(|error| invalid(error.to_string()))?.claims);
        claims.check_times(now_ms)?;
        claims.check_issuer(self.config.issuer.as_deref())?;
        claims.check_audience(&self.config.audiences)?;
        Ok(claims)
    }
}

fn decoding_key(config: &JwtLogin) -> Result<DecodingKey, String> {
    use jsonwebtoken::AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    match (&config.key, config.algorithm.family()) {
        (JwtKey::Secret(secret), Hmac) if secret.expose().is_empty() => {
            Err("the secret is empty".to_owned())
        }
        (JwtKey::Secret(secret), Hmac) => Ok(DecodingKey::from_secret(secret.expose())),
        (JwtKey::PublicPem(pem), Rsa) => {
            DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| error.to_string())
        }
        (JwtKey::PublicPem(pem), Ec) => {
            DecodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| error.to_string())
        }
        (JwtKey::PublicPem(pem), Ed) => {
            DecodingKey::from_ed_pem(pem.as_bytes()).map_err(|error| error.to_string())
        }
        (JwtKey::Secret(_), _) | (JwtKey::PublicPem(_), Hmac) => {
            Err("an HS algorithm takes a secret, any other a public key".to_owned())
        }
    }
}

pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// A time in seconds, possibly with a fraction.
    fn time(&self, claim: &'static str) -> Result<Option<f64>, JwtLoginError> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(value) => {
                let time =
                    value.as_f64().ok_or_else(|| invalid(format!("{claim} is not a number")));
                time.map(Some)
            }
        }
    }

    fn check_times(&self, now_ms: u64) -> Result<(), JwtLoginError> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in f64")]
        let now = now_ms as f64 / 1000.0;
        if self.time("exp")?.is_some_and(|exp| now >= exp + LEEWAY) {
            return Err(invalid("the token has expired"));
        }
        if self.time("nbf")?.is_some_and(|nbf| nbf > now + LEEWAY) {
            return Err(invalid("the token is not valid yet"));
        }
        if self.time("iat")?.is_some_and(|iat| iat > now + LEEWAY) {
            return Err(invalid("the token was issued in the future"));
        }
        Ok(())
    }

    fn check_issuer(&self, issuer: Option<&str>) -> Result<(), JwtLoginError> {
        match issuer {
            Some(issuer) if self.text("iss") != Some(issuer) => Err(invalid("wrong issuer")),
            Some(_) | None => Ok(()),
        }
    }

    fn check_audience(&self, audiences: &[String]) -> Result<(), JwtLoginError> {
        let is_ours =
            |value: &Value| value.as_str().is_some_and(|aud| audiences.iter().any(|a| a == aud));
        let accepted = match self.0.get("aud") {
            // A token that is meant for somebody is not for us if we have no name.
            None => audiences.is_empty(),
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
        };
        accepted.then_some(()).ok_or_else(|| invalid("wrong audience"))
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim)?.as_str()
    }
}

impl Accounts {
    pub fn has_jwt_login(&self) -> bool {
        self.inner.jwt.is_some()
    }

    pub fn verify_login_jwt(&self, token: &str) -> Result<JwtIdentity, JwtLoginError> {
        let inner = &self.inner;
        let verifier = inner.jwt.as_ref().ok_or(JwtLoginError::Disabled)?;
        let claims = verifier.verify(token, inner.clock.now_ms())?;
        let subject = claims
            .text(&verifier.config.subject_claim)
            .ok_or_else(|| invalid("the subject claim is missing or not text"))?;
        let user_id = username::user_id(subject, &inner.server_name)
            .map_err(|error| invalid(error.to_string()))?;
        let display_name_claim = verifier.config.display_name_claim.as_deref();
        let display_name = display_name_claim.and_then(|claim| claims.text(claim));
        Ok(JwtIdentity {
            localpart: user_id.localpart().to_owned(),
            display_name: display_name.map(str::to_owned),
        })
    }
}
