//! Passwords: who gets in, and what a change or an end of the account ends.

use accounts::{Config, EndSessions, NewSession, NewUser, PasswordError, RegisterError};
use ruma::device_id;

use crate::{Server, at_once, user_id};

#[tokio::test]
async fn only_the_password_opens_the_account() {
    let server = Server::new().await;
    let ada = server.user_with_password("ada", "correct horse").await;
    server.user("nopass").await;
    let check = async |user: &str, password: &str| {
        server.accounts.check_password(&user_id(user), password).await
    };
    assert_eq!(check("ada", "correct horse").await.expect("right"), ada);
    for (user, password) in [
        ("ada", "correct horsf"),
        ("ada", ""),
        ("ada", "correct horse\0"),
        ("ada", &"x".repeat(1 << 20)),
        ("nopass", ""),
        ("nobody", "correct horse"),
    ] {
        let refused = check(user, password).await;
        assert!(matches!(refused, Err(PasswordError::Wrong)), "{user}");
    }
}

#[tokio::test]
async fn lengths_are_limited() {
    let server = Server::new().await;
    let register = async |name: &str, password: &str| {
        let user =
            NewUser { localpart: Some(name), password: Some(password), ..Default::default() };
        server.accounts.register(user).await
    };
    let short = register("a", "1234567").await;
    assert!(matches!(short, Err(RegisterError::Password(PasswordError::TooShort(8)))));
    let long = register("a", &"x".repeat(513)).await;
    assert!(matches!(long, Err(RegisterError::Password(PasswordError::TooLong(512)))));
    // No cut at 72 bytes: the whole password counts.
    let (full, cut) = ("x".repeat(512), "x".repeat(511));
    register("a", &full).await.expect("long enough");
    assert!(server.accounts.check_password(&user_id("a"), &full).await.is_ok());
    assert!(server.accounts.check_password(&user_id("a"), &cut).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_turned_away() {
    let config =
        Config { password_hashes_parallel: 1, password_hashes_queued: 3, ..Config::default() };
    let server = Server::with(config).await;
    let outcomes = at_once(|_| {
        let accounts = server.accounts.clone();
        async move { accounts.check_password(&user_id("nobody"), "password").await }
    })
    .await;
    let busy = |outcome: &&Result<_, _>| matches!(outcome, Err(PasswordError::Busy));
    let wrong = |outcome: &&Result<_, _>| matches!(outcome, Err(PasswordError::Wrong));
    assert!(outcomes.iter().filter(busy).count() >= 32);
    assert!(outcomes.iter().filter(wrong).count() >= 4);
}

#[tokio::test]
async fn a_change_ends_the_other_sessions() {
    let mut server = Server::new().await;
    let ada = server.user_with_password("ada", "correct horse").await;
    let login = async |accounts: &accounts::Accounts, device| {
        let session = NewSession { user: &ada, device_id: device, refresh: false };
        accounts.create_session(session).await.expect("logged in")
    };
    let kept = login(&server.accounts, device_id!("KEPT")).await;
    let other = login(&server.accounts, device_id!("OTHER")).await;
    let ended = server.accounts.session_ended(other.session_id);
    let end = EndSessions::AllExcept(kept.session_id);
    server.accounts.set_password(&ada.user_id, "battery staple", end).await.expect("changed");

    ended.await;
    assert!(server.accounts.authenticate(&kept.access_token).is_ok());
    assert!(server.accounts.authenticate(&other.access_token).is_err());
    assert!(server.accounts.check_password(&ada.user_id, "correct horse").await.is_err());
    // Who proved the old password has nothing left to log in with.
    let late = NewSession { user: &ada, device_id: device_id!("LATE"), refresh: false };
    assert!(server.accounts.create_session(late).await.is_err());

    server.reopen().await;
    assert!(server.accounts.authenticate(&kept.access_token).is_ok());
    assert!(server.accounts.authenticate(&other.access_token).is_err());
    assert!(server.accounts.check_password(&ada.user_id, "battery staple").await.is_ok());
}

#[tokio::test]
async fn a_deactivated_account_stays_closed() {
    let mut server = Server::new().await;
    let ada = server.user_with_password("ada", "correct horse").await;
    let session = NewSession { user: &ada, device_id: device_id!("A"), refresh: true };
    let tokens = server.accounts.create_session(session).await.expect("logged in");
    assert!(server.accounts.deactivate(&ada.user_id, true).await.expect("ended"));
    assert!(!server.accounts.deactivate(&user_id("nobody"), true).await.expect("nobody"));

    for _restart in 0..2 {
        let accounts = &server.accounts;
        assert!(accounts.authenticate(&tokens.access_token).is_err());
        assert!(accounts.refresh(tokens.refresh_token.as_ref().expect("asked")).await.is_err());
        let password = accounts.check_password(&ada.user_id, "correct horse").await;
        assert!(matches!(password, Err(PasswordError::Deactivated)));
        let user = accounts.user(&ada.user_id).await.expect("read").expect("kept");
        let session = NewSession { user: &user, device_id: device_id!("A"), refresh: false };
        assert!(accounts.create_session(session).await.is_err());
        let again = accounts.set_password(&ada.user_id, "another one", EndSessions::All).await;
        assert!(matches!(again, Err(PasswordError::Deactivated)));
        assert!(accounts.is_available("ada").await.is_err(), "the name stays taken");
        assert!(accounts.profile_fields(&ada.user_id).await.expect("read").is_none());
        server.reopen().await;
    }
}
