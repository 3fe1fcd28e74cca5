//! Tokens that are not what they should be.

use std::{sync::Arc, time::Duration};

use ruma::{UserId, device_id, presence::PresenceState};
use sync::{SyncError, Token, V3Request};

use crate::world::{World, bodies, events, is_empty, joined, token_of};

async fn refused(world: &World, user: &UserId, since: &str) -> bool {
    let request = V3Request {
        user,
        device: Some(device_id!("PHONE")),
        since: Some(since),
        filter: Arc::default(),
        full_state: false,
        set_presence: PresenceState::Offline,
        use_state_after: None,
        timeout: Duration::ZERO,
    };
    matches!(world.sync.v3(request).await, Err(SyncError::InvalidToken))
}

#[tokio::test]
async fn a_malformed_token_is_refused() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    for since in ["", "s123", "m1_1", "m1_1_1_1_1", "{}", "t1_1"] {
        assert!(refused(&world, &ada, since).await, "{since}");
        let opened = world.sync.connection(&ada, device_id!("PHONE"), world.params(Some(since)));
        assert!(matches!(opened.await, Err(SyncError::InvalidToken)), "{since}");
    }
}

#[tokio::test]
async fn a_token_of_the_future_or_of_another_database_is_refused() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let token = Token::parse(&world.token(&ada).await).expect("own token");
    let future = Token { durable: token.durable + 1000, ..token };
    let foreign = Token { incarnation: token.incarnation + 1, ..token };
    let twisted = Token { to_device: token.durable + 1, ..token };
    for since in [future, foreign, twisted] {
        assert!(refused(&world, &ada, &since.to_string()).await, "{since}");
    }
    assert!(!refused(&world, &ada, &token.to_string()).await);
}

#[tokio::test]
async fn a_token_is_good_after_a_restart() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&room, &ada, "before the restart").await;
    let world = World::on(world.store.clone()).await;
    let answer = world.next(&ben, &since).await;
    assert_eq!(bodies(joined(&answer, &room)), ["before the restart"]);
    assert!(events(joined(&answer, &room), "state").is_empty());
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
}

#[tokio::test]
async fn the_token_of_one_user_shows_nothing_to_another() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let since = world.token(&ada).await;
    let room = world.shared_room(&[&ada]).await;
    world.say(&room, &ada, "secret").await;
    assert!(is_empty(&world.next(&ben, &since).await));
}
