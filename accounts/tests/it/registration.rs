//! Registration, its tokens, and the shared secret.

use accounts::{
    Config, NewRegistrationToken, NewUser, RegisterError, RegistrationTokenError, Secret,
    SharedSecretError, SharedSecretRequest,
};

use crate::{Server, at_once, user_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_want_a_name_one_gets_it() {
    let server = Server::new().await;
    for round in 0..50 {
        let outcomes = at_once(|index| {
            let accounts = server.accounts.clone();
            async move {
                let name = format!("round{round}");
                // In any case: it is one name.
                let name = if index % 2 == 0 { name } else { name.to_uppercase() };
                let user = NewUser { localpart: Some(&name), ..NewUser::default() };
                accounts.register(user).await
            }
        })
        .await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "round {round}");
        let lost = |outcome: &&Result<_, _>| matches!(outcome, Err(RegisterError::UserInUse));
        assert_eq!(outcomes.iter().filter(lost).count(), 63, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_with_one_use_registers_one() {
    let server = Server::new().await;
    for round in 0..20 {
        let token = NewRegistrationToken { uses_allowed: Some(1), ..Default::default() };
        let token = server.accounts.create_registration_token(token).await.expect("created").token;
        let outcomes = at_once(|index| {
            let (accounts, token) = (server.accounts.clone(), token.clone());
            async move {
                let name = format!("r{round}.{index}");
                let user = NewUser {
                    localpart: Some(&name),
                    registration_token: Some(&token),
                    ..NewUser::default()
                };
                accounts.register(user).await
            }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refused =
            |outcome: &&Result<_, _>| matches!(outcome, Err(RegisterError::RegistrationToken));
        assert_eq!(outcomes.iter().filter(refused).count(), 63);
        assert!(!server.accounts.is_registration_token_valid(&token).await.expect("read"));
    }
}

#[tokio::test]
async fn a_failed_registration_does_not_spend_the_token() {
    let server = Server::new().await;
    server.user("ada").await;
    let token = NewRegistrationToken {
        token: Some("once".to_owned()),
        uses_allowed: Some(1),
        expires_at: None,
    };
    server.accounts.create_registration_token(token.clone()).await.expect("created");
    let again = server.accounts.create_registration_token(token).await;
    assert!(matches!(again, Err(RegistrationTokenError::Exists)));
    let taken =
        NewUser { localpart: Some("ada"), registration_token: Some("once"), ..NewUser::default() };
    assert!(matches!(server.accounts.register(taken).await, Err(RegisterError::UserInUse)));
    assert!(server.accounts.is_registration_token_valid("once").await.expect("read"));
}

#[tokio::test]
async fn tokens_expire_and_are_deleted() {
    let server = Server::new().await;
    let token = NewRegistrationToken {
        token: Some("short".to_owned()),
        uses_allowed: None,
        expires_at: Some(crate::START_MS + 1000),
    };
    server.accounts.create_registration_token(token).await.expect("created");
    assert!(server.accounts.is_registration_token_valid("short").await.expect("read"));
    server.clock.advance(1000);
    assert!(!server.accounts.is_registration_token_valid("short").await.expect("read"));
    assert!(server.accounts.delete_registration_token("short").await.expect("deleted"));
    assert!(!server.accounts.delete_registration_token("short").await.expect("gone"));
    assert_eq!(server.accounts.registration_tokens().await.expect("read"), []);
    let junk = NewRegistrationToken { token: Some("a b".to_owned()), ..Default::default() };
    let junk = server.accounts.create_registration_token(junk).await;
    assert!(matches!(junk, Err(RegistrationTokenError::Invalid)));
}

#[tokio::test]
async fn names_are_checked_and_drawn() {
    let server = Server::new().await;
    for junk in ["", "a b", "a\nb", "_x", "a:b"] {
        let user = NewUser { localpart: Some(junk), ..NewUser::default() };
        let refused = server.accounts.register(user).await;
        assert!(matches!(refused, Err(RegisterError::InvalidUsername(_))), "{junk:?}");
        assert!(server.accounts.is_available(junk).await.is_err(), "{junk:?}");
    }
    let guest = NewUser { guest: true, ..NewUser::default() };
    let guest = server.accounts.register(guest).await.expect("a name is drawn");
    assert!(guest.guest && !guest.has_password);
    assert!(server.accounts.is_available("ada").await.is_ok());
    server.user("ada").await;
    assert!(matches!(server.accounts.is_available("Ada").await, Err(RegisterError::UserInUse)));
    assert_eq!(server.accounts.user_id("ADA"), Some(user_id("ada")));
    assert_eq!(server.accounts.user_id("@Ada:example.org"), Some(user_id("ada")));
    assert_eq!(server.accounts.user_id("@ada:other.org"), None);
}

fn code(nonce: &str, password: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"s3cret").expect("any key");
    mac.update(format!("{nonce}\0ada\0{password}\0admin").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_shared_secret_works_once_per_nonce() {
    let config =
        Config { registration_shared_secret: Some(Secret::new("s3cret")), ..Config::default() };
    let server = Server::with(config).await;
    let verify = |nonce: &str, password: &str, mac: &str| {
        server.accounts.verify_shared_secret(SharedSecretRequest {
            nonce,
            username: "ada",
            password,
            admin: true,
            user_type: None,
            mac,
        })
    };
    let nonce = || server.accounts.shared_secret_nonce().expect("enabled");

    let first = nonce();
    assert_eq!(verify(&first, "pw", &code(&first, "pw")), Ok(()));
    assert_eq!(verify(&first, "pw", &code(&first, "pw")), Err(SharedSecretError::Nonce));
    assert_eq!(verify("made up", "pw", &code("made up", "pw")), Err(SharedSecretError::Nonce));
    let other = nonce();
    assert_eq!(verify(&other, "pw", &code(&other, "qx")), Err(SharedSecretError::Mac));
    let junk = nonce();
    assert_eq!(verify(&junk, "pw", "zz"), Err(SharedSecretError::Mac));
    let nul = nonce();
    assert_eq!(verify(&nul, "p\0w", &code(&nul, "p\0w")), Err(SharedSecretError::Nul));
    let late = nonce();
    server.clock.advance(60_000);
    assert_eq!(verify(&late, "pw", &code(&late, "pw")), Err(SharedSecretError::Nonce));

    let closed = Server::new().await;
    assert_eq!(closed.accounts.shared_secret_nonce(), Err(SharedSecretError::Disabled));
}
