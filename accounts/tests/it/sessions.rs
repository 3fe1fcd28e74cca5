//! Sessions and their tokens: ends at once, rotation, expiry, single use.

use std::{collections::HashSet, time::Duration};

use accounts::{Config, NewSession, RefreshError, TokenError, Tokens, User};
use ruma::{DeviceId, OwnedDeviceId, device_id};

use crate::{Server, at_once, user_id};

const MINUTE_MS: u64 = 60_000;

async fn login(server: &Server, user: &User, device_id: &DeviceId, refresh: bool) -> Tokens {
    let session = NewSession { user, device_id, refresh };
    server.accounts.create_session(session).await.expect("logged in")
}

fn refresh_token(tokens: &Tokens) -> &str {
    tokens.refresh_token.as_deref().expect("it was asked for")
}

#[tokio::test]
async fn a_token_names_its_session() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await;
    server.accounts.set_admin(&ada.user_id, true).await.expect("set");
    let tokens = login(&server, &ada, device_id!("PHONE"), false).await;
    assert_eq!(tokens.refresh_token, None);
    assert_eq!(tokens.expires_in, None);
    assert!(tokens.access_token.starts_with("mrd_"));
    for _restart in 0..2 {
        let session = server.accounts.authenticate(&tokens.access_token).expect("known");
        assert_eq!(session.id, tokens.session_id);
        assert_eq!((session.user_id, session.device_id.as_str()), (user_id("ada"), "PHONE"));
        assert!(session.admin && !session.guest);
        server.reopen().await;
    }
}

#[tokio::test]
async fn no_part_of_a_token_can_be_changed() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let token = login(&server, &ada, device_id!("PHONE"), false).await.access_token;
    // Every byte, while the token has not been verified before and after.
    for _verified in 0..2 {
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            // The last character of a signature has bits that mean nothing, but are refused.
            assert!(server.accounts.authenticate(&changed).is_err(), "byte {index}");
        }
        assert!(server.accounts.authenticate(&token).is_ok());
    }
    let junk = ["", " ", "mrd_", "mrd_a.b.c", "mrd_..", "\0", &"a".repeat(1 << 20)];
    for junk in junk {
        assert_eq!(server.accounts.authenticate(junk), Err(TokenError::Unknown));
        assert!(matches!(server.accounts.refresh(junk).await, Err(RefreshError::Unknown)));
    }
}

#[tokio::test]
async fn an_end_takes_effect_at_once_and_for_good() {
    let mut server = Server::new().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let one = login(&server, &ada, device_id!("ONE"), false).await;
    let two = login(&server, &ada, device_id!("TWO"), false).await;
    let three = login(&server, &ada, device_id!("THREE"), false).await;
    let bobs = login(&server, &bob, device_id!("ONE"), false).await;
    let is_known = |server: &Server, tokens: &Tokens| {
        server.accounts.authenticate(&tokens.access_token).is_ok()
    };

    let ended = server.accounts.session_ended(one.session_id);
    server.accounts.end_session(one.session_id).await.expect("ended");
    assert!(!is_known(&server, &one) && is_known(&server, &two));
    ended.await;
    server.accounts.session_ended(one.session_id).await;

    let ended = server.accounts.session_ended(two.session_id);
    server.accounts.end_device(&ada.user_id, device_id!("TWO")).await.expect("ended");
    assert!(!is_known(&server, &two) && is_known(&server, &three));
    ended.await;
    server.reopen().await;
    assert!(!is_known(&server, &one) && !is_known(&server, &two) && is_known(&server, &three));

    let four = login(&server, &ada, device_id!("FOUR"), false).await;
    server.accounts.end_all(&ada.user_id, Some(four.session_id)).await.expect("ended");
    assert!(!is_known(&server, &three) && is_known(&server, &four));
    server.accounts.end_all(&ada.user_id, None).await.expect("ended");
    assert!(!is_known(&server, &four) && is_known(&server, &bobs));
    server.reopen().await;
    assert!(!is_known(&server, &four) && is_known(&server, &bobs));
}

#[tokio::test]
async fn an_end_wakes_who_waits() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let tokens = login(&server, &ada, device_id!("ONE"), false).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        waiting.spawn(server.accounts.session_ended(tokens.session_id));
    }
    tokio::task::yield_now().await;
    assert!(waiting.try_join_next().is_none());
    server.accounts.end_session(tokens.session_id).await.expect("ended");
    assert_eq!(waiting.join_all().await.len(), 3);
}

#[tokio::test]
async fn a_new_login_replaces_the_session_of_the_device() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await;
    let old = login(&server, &ada, device_id!("PHONE"), true).await;
    let new = login(&server, &ada, device_id!("PHONE"), true).await;
    for _restart in 0..2 {
        assert_eq!(server.accounts.authenticate(&old.access_token), Err(TokenError::Unknown));
        assert!(server.accounts.refresh(refresh_token(&old)).await.is_err());
        assert!(server.accounts.authenticate(&new.access_token).is_ok());
        server.reopen().await;
    }
}

#[tokio::test]
async fn the_old_refresh_token_is_good_until_the_new_pair_is_used() {
    for use_access_token in [true, false] {
        let mut server = Server::new().await;
        let ada = server.user("ada").await;
        let first = login(&server, &ada, device_id!("PHONE"), true).await;
        assert_eq!(first.expires_in, Some(Duration::from_secs(15 * 60)));
        let lost = server.accounts.refresh(refresh_token(&first)).await.expect("refreshed");
        assert!(server.accounts.authenticate(&first.access_token).is_ok(), "still in use");
        server.reopen().await;
        let second = server.accounts.refresh(refresh_token(&first)).await.expect("again");
        assert_eq!(lost, second, "the retry gets the pair that the lost answer had");
        assert_ne!(first.access_token, second.access_token);

        if use_access_token {
            let session = server.accounts.authenticate(&second.access_token).expect("known");
            assert_eq!(session.id, first.session_id);
        } else {
            let third = server.accounts.refresh(refresh_token(&second)).await.expect("used");
            assert!(server.accounts.authenticate(&third.access_token).is_ok());
        }
        server.reopen().await;
        // The session lives, so the client is told to refresh, not that it is logged out.
        assert_eq!(server.accounts.authenticate(&first.access_token), Err(TokenError::Expired));
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_used_ends_the_session() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let first = login(&server, &ada, device_id!("PHONE"), true).await;
    let second = server.accounts.refresh(refresh_token(&first)).await.expect("refreshed");
    server.accounts.authenticate(&second.access_token).expect("used");
    let reused = server.accounts.refresh(refresh_token(&first)).await;
    assert!(matches!(reused, Err(RefreshError::Unknown)));
    assert_eq!(server.accounts.authenticate(&second.access_token), Err(TokenError::Unknown));
    assert!(server.accounts.refresh(refresh_token(&second)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refreshes_at_once_get_one_pair() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let mut current = login(&server, &ada, device_id!("PHONE"), true).await;
    for _round in 0..20 {
        let outcomes = at_once(|_| {
            let (accounts, token) = (server.accounts.clone(), refresh_token(&current).to_owned());
            async move { accounts.refresh(&token).await.expect("good until the next is used") }
        })
        .await;
        let pairs: HashSet<_> = outcomes.iter().map(|tokens| &tokens.refresh_token).collect();
        assert_eq!(pairs.len(), 1);
        current = outcomes.into_iter().next().expect("64 outcomes");
        server.accounts.authenticate(&current.access_token).expect("known");
    }
}

#[tokio::test]
async fn an_expired_token_is_a_soft_logout() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await;
    let tokens = login(&server, &ada, device_id!("PHONE"), true).await;
    let plain = login(&server, &ada, device_id!("LAPTOP"), false).await;
    server.clock.advance(15 * MINUTE_MS - 1);
    assert!(server.accounts.authenticate(&tokens.access_token).is_ok());
    server.clock.advance(1);
    assert_eq!(server.accounts.authenticate(&tokens.access_token), Err(TokenError::Expired));
    assert!(server.accounts.authenticate(&plain.access_token).is_ok(), "it cannot refresh");
    server.reopen().await;
    let renewed = server.accounts.refresh(refresh_token(&tokens)).await.expect("refreshed");
    assert!(server.accounts.authenticate(&renewed.access_token).is_ok());

    server.clock.advance(16 * MINUTE_MS);
    server.accounts.end_session(renewed.session_id).await.expect("ended");
    let ended = server.accounts.authenticate(&renewed.access_token);
    assert_eq!(ended, Err(TokenError::Unknown), "the session is gone: a hard logout");
}

#[tokio::test]
async fn a_retry_after_a_long_time_gets_a_fresh_access_token() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let first = login(&server, &ada, device_id!("PHONE"), true).await;
    server.accounts.refresh(refresh_token(&first)).await.expect("lost on the way");
    server.clock.advance(20 * MINUTE_MS);
    let retried = server.accounts.refresh(refresh_token(&first)).await.expect("retried");
    assert_eq!(retried.expires_in, Some(Duration::from_secs(15 * 60)));
    assert!(server.accounts.authenticate(&retried.access_token).is_ok());
}

#[tokio::test]
async fn tokens_of_sessions_that_cannot_refresh_may_expire_too() {
    let config =
        Config { access_token_lifetime: Some(Duration::from_secs(60)), ..Config::default() };
    let server = Server::with(config).await;
    let ada = server.user("ada").await;
    let tokens = login(&server, &ada, device_id!("PHONE"), false).await;
    assert_eq!(tokens.expires_in, Some(Duration::from_secs(60)));
    server.clock.advance(MINUTE_MS);
    assert_eq!(server.accounts.authenticate(&tokens.access_token), Err(TokenError::Expired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_token_is_taken_once() {
    let server = Server::new().await;
    for _round in 0..50 {
        let (token, lifetime) = server.accounts.issue_login_token(&user_id("ada"));
        assert_eq!(lifetime, Duration::from_secs(120));
        let taken = at_once(|_| {
            let (accounts, token) = (server.accounts.clone(), token.clone());
            async move { accounts.take_login_token(&token) }
        })
        .await;
        let winners: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(winners, [user_id("ada")]);
    }
    let (token, _) = server.accounts.issue_login_token(&user_id("ada"));
    server.clock.advance(2 * MINUTE_MS);
    assert_eq!(server.accounts.take_login_token(&token), None);
    assert_eq!(server.accounts.take_login_token(""), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_session_outlives_a_deactivation() {
    for round in 0..20 {
        let server = Server::new().await;
        let ada = server.user("ada").await;
        let outcomes = at_once(|index| {
            let (accounts, user) = (server.accounts.clone(), ada.clone());
            async move {
                if index == 32 {
                    accounts.deactivate(&user.user_id, false).await.expect("ended");
                    return None;
                }
                let device_id: OwnedDeviceId = format!("D{index}").into();
                let session = NewSession { user: &user, device_id: &device_id, refresh: false };
                accounts.create_session(session).await.ok()
            }
        })
        .await;
        let mut server = server;
        for _restart in 0..2 {
            for tokens in outcomes.iter().flatten() {
                let known = server.accounts.authenticate(&tokens.access_token);
                assert_eq!(known, Err(TokenError::Unknown), "round {round}");
            }
            server.reopen().await;
        }
    }
}
