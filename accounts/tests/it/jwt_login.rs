//! `org.matrix.login.jwt`: which tokens are accepted.

use accounts::{Config, JwtAlgorithm, JwtIdentity, JwtKey, JwtLogin, JwtLoginError, Secret};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer, SigningKey};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::{START_MS, Server};

const NOW: u64 = START_MS / 1000;

fn hmac_config() -> JwtLogin {
    JwtLogin {
        key: JwtKey::Secret(Secret::new("a shared secret")),
        algorithm: JwtAlgorithm::HS256,
        subject_claim: "sub".to_owned(),
        display_name_claim: Some("name".to_owned()),
        issuer: None,
        audiences: Vec::new(),
    }
}

async fn server(jwt: JwtLogin) -> Server {
    Server::with(Config { jwt: Some(jwt), ..Config::default() }).await
}

fn token(claims: &Value, algorithm: JwtAlgorithm, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signed")
}

#[tokio::test]
async fn claims_decide() {
    let strict = JwtLogin {
        issuer: Some("idp".to_owned()),
        audiences: vec!["us".to_owned(), "them".to_owned()],
        ..hmac_config()
    };
    let (open, strict) = (server(hmac_config()).await, server(strict).await);
    for (accepted, strictly, claims) in [
        (true, false, json!({"sub": "ada"})),
        (true, false, json!({"sub": "ADA", "name": "Ada"})),
        (true, false, json!({"sub": "ada", "exp": NOW - 119})),
        (false, false, json!({"sub": "ada", "exp": NOW - 121})),
        (true, false, json!({"sub": "ada", "exp": NOW as f64 + 0.5})),
        (false, false, json!({"sub": "ada", "exp": "never"})),
        (true, false, json!({"sub": "ada", "nbf": NOW + 119})),
        (false, false, json!({"sub": "ada", "nbf": NOW + 121})),
        (true, false, json!({"sub": "ada", "iat": NOW})),
        (false, false, json!({"sub": "ada", "iat": NOW + 121})),
        (false, false, json!({"sub": ""})),
        (false, false, json!({"sub": 7})),
        (false, false, json!({"name": "Ada"})),
        (false, false, json!({"sub": "@ada:example.org"})),
        (false, false, json!({"sub": "a b"})),
        (false, false, json!({"sub": "ada", "aud": "us"})),
        (false, true, json!({"sub": "ada", "iss": "idp", "aud": "us"})),
        (false, true, json!({"sub": "ada", "iss": "idp", "aud": ["x", "them"]})),
        (false, false, json!({"sub": "ada", "iss": "idp", "aud": ["x"]})),
        (false, false, json!({"sub": "ada", "iss": "idp", "aud": 7})),
        (true, false, json!({"sub": "ada", "iss": "idp"})),
        (false, false, json!({"sub": "ada", "iss": "other", "aud": "us"})),
        (false, false, json!({"sub": "ada", "aud": "us"})),
    ] {
        let token = token(&claims, JwtAlgorithm::HS256, "a shared secret");
        assert_eq!(open.accounts.verify_login_jwt(&token).is_ok(), accepted, "{claims}");
        assert_eq!(strict.accounts.verify_login_jwt(&token).is_ok(), strictly, "strict {claims}");
    }
}

#[tokio::test]
async fn the_identity_is_read() {
    let server = server(hmac_config()).await;
    let claims = json!({"sub": "Ada", "name": "Ada L."});
    let token = token(&claims, JwtAlgorithm::HS256, "a shared secret");
    let expected =
        JwtIdentity { localpart: "ada".to_owned(), display_name: Some("Ada L.".to_owned()) };
    assert_eq!(server.accounts.verify_login_jwt(&token), Ok(expected));
}

#[tokio::test]
async fn signatures_decide() {
    let server = server(hmac_config()).await;
    let claims = json!({"sub": "ada"});
    let unsigned = {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    for refused in [
        token(&claims, JwtAlgorithm::HS256, "another secret"),
        token(&claims, JwtAlgorithm::HS512, "a shared secret"),
        token(&claims, JwtAlgorithm::HS256, ""),
        unsigned,
        String::new(),
        "a.b.c".to_owned(),
    ] {
        let outcome = server.accounts.verify_login_jwt(&refused);
        assert!(matches!(outcome, Err(JwtLoginError::Invalid(_))), "{refused}");
    }
    let closed = Server::new().await;
    assert!(!closed.accounts.has_jwt_login());
    let outcome = closed.accounts.verify_login_jwt("a.b.c");
    assert_eq!(outcome, Err(JwtLoginError::Disabled));
}

/// The public key in the form of RFC 8410.
fn public_pem(key: &SigningKey) -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(key.verifying_key().as_bytes());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn a_public_key_verifies() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let pem = public_pem(&key);
    let config = JwtLogin {
        key: JwtKey::PublicPem(pem.clone()),
        algorithm: JwtAlgorithm::EdDSA,
        ..hmac_config()
    };
    let server = server(config).await;
    let signed_by = |key: &SigningKey| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
        let body = format!("{header}.{}", URL_SAFE_NO_PAD.encode(r#"{"sub":"ada"}"#));
        let signature = key.sign(body.as_bytes()).to_bytes();
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    assert!(server.accounts.verify_login_jwt(&signed_by(&key)).is_ok());
    let stranger = SigningKey::from_bytes(&[8; 32]);
    assert!(server.accounts.verify_login_jwt(&signed_by(&stranger)).is_err());
    // The public key is no secret: signing with it as one must not work.
    let confused = token(&json!({"sub": "ada"}), JwtAlgorithm::HS256, &pem);
    assert!(server.accounts.verify_login_jwt(&confused).is_err());
}
