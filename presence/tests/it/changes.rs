//! What is told to others, and what is written.

use presence::{ChangeLogGap, Config};
use ruma::{
    OwnedUserId, UserId, device_id,
    presence::PresenceState::{Offline, Online, Unavailable},
    user_id,
};

use crate::{MINUTE, PHONE, SECOND, START_MS, Server, ada};

#[tokio::test]
async fn only_news_is_told() {
    let server = Server::new();
    let mut changes = server.presence.changes();
    let _socket = server.sync(PHONE, Online).await;
    assert_eq!(server.presence.sequence(), 1);
    // A minute of heartbeats and messages is one state.
    for _second in 0..59 {
        server.pass(SECOND);
        server.beat(PHONE, true);
        server.presence.event_sent(ada(), device_id!("PHONE"));
    }
    assert_eq!(server.presence.sequence(), 1);
    // Their end is one change: no longer currently active.
    server.pass(2 * MINUTE);
    assert_eq!(server.presence.sequence(), 2);
    server.pass(10 * MINUTE);
    assert_eq!(server.presence.sequence(), 3, "idle");
    server.set(Unavailable, Some("lunch")).await;
    assert_eq!(server.presence.sequence(), 4);
    server.set(Unavailable, Some("lunch")).await;
    assert_eq!(server.presence.sequence(), 4, "the same again");
    for sequence in 1..=4 {
        let change = changes.try_recv().expect("told");
        assert_eq!((change.user_id, change.sequence), (ada().to_owned(), sequence));
    }
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn readers_get_each_user_once_as_they_are_now() {
    let server = Server::new();
    let users: Vec<OwnedUserId> = (0..10)
        .map(|n| UserId::parse(format!("@user{n}:example.org")).expect("a user id"))
        .collect();
    for user_id in &users {
        server.presence.heartbeat(user_id, device_id!("D"), true);
    }
    let sequence = server.presence.sequence();
    assert_eq!(sequence, 10);
    assert_eq!(server.presence.changed_since(0).expect("kept").len(), 10);
    assert_eq!(server.presence.changed_since(8).expect("kept").len(), 2);
    assert!(server.presence.changed_since(sequence).expect("kept").is_empty());
    server.pass(2 * MINUTE);
    let changed = server.presence.changed_since(0).expect("kept");
    assert_eq!(changed.len(), 10, "online, not active, offline: told once each");
    assert!(changed.iter().all(|(_, presence)| presence.presence == Offline));
    assert_eq!(server.presence.changed_since(u64::MAX), Err(ChangeLogGap), "of another start");
}

#[tokio::test]
async fn the_log_of_changes_is_bounded() {
    let server = Server::with(Config { changes_kept: 4, ..Config::default() });
    for n in 0..6 {
        let status = format!("status {n}");
        server.set(Online, Some(&status)).await;
    }
    assert_eq!(server.presence.sequence(), 6);
    assert_eq!(server.presence.changed_since(1), Err(ChangeLogGap));
    let changed = server.presence.changed_since(2).expect("kept");
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].1.status_msg.as_deref(), Some("status 5"));
}

#[tokio::test]
async fn the_status_and_last_seen_outlive_a_restart() {
    let mut server = Server::new();
    server.set(Online, Some("here")).await;
    server.reopen().await;
    let seen = server.get().await;
    assert_eq!(seen.presence, Offline);
    assert_eq!(seen.status_msg.as_deref(), Some("here"));
    assert_eq!(seen.last_active_ts, Some(START_MS));
    let _sync = server.sync(PHONE, Online).await;
    assert_eq!(server.get().await.status_msg.as_deref(), Some("here"));
    server.set(Online, None).await;
    server.reopen().await;
    assert_eq!(server.get().await.status_msg, None);
}

#[tokio::test]
async fn going_offline_is_written_and_heartbeats_are_not() {
    let mut server = Server::new();
    let sync = server.sync(PHONE, Online).await;
    for _beat in 0..10 {
        server.pass(30 * SECOND);
        server.beat(PHONE, true);
    }
    server.store.barrier().wait().await.expect("nothing to write");
    let before = server.get().await.last_active_ts;
    assert_eq!(before, Some(START_MS + 5 * MINUTE));
    let crashed = presence::Presence::new(
        Config::default(),
        server.clock.clone(),
        &server.tasks,
        server.store.clone(),
    );
    assert_eq!(crashed.get(ada()).await.expect("read").last_active_ts, None);
    drop(sync);
    server.pass(MINUTE);
    server.reopen().await;
    assert_eq!(server.get().await.last_active_ts, before);
}

#[tokio::test]
async fn a_message_writes_last_seen_at_most_once_a_minute() {
    let mut server = Server::new();
    let _sync = server.sync(PHONE, Online).await;
    for _message in 0..30 {
        server.pass(SECOND);
        server.presence.event_sent(ada(), device_id!("PHONE"));
    }
    server.reopen().await;
    assert_eq!(server.get().await.last_active_ts, Some(START_MS + SECOND));
}

#[tokio::test]
async fn the_event_says_what_is_known() {
    let server = Server::new();
    let _sync = server.sync(PHONE, Online).await;
    server.pass(1500);
    let content = server.get().await.content(server.now());
    let json = serde_json::to_value(&content).expect("serialises");
    let expected = serde_json::json!({
        "presence": "online", "last_active_ago": 1500, "currently_active": true,
    });
    assert_eq!(json, expected);
    let nobody = server.presence.get(user_id!("@x:example.org")).await.expect("read");
    let json = serde_json::to_value(nobody.content(server.now())).expect("serialises");
    assert_eq!(json, serde_json::json!({"presence": "offline"}));
}
