//! The state machine: how signs of life of several devices become one state.

use presence::{Config, PresenceError, UserPresence};
use ruma::{
    device_id,
    presence::PresenceState::{self, Offline, Online, Unavailable},
};

use crate::{LAPTOP, MINUTE, PHONE, SECOND, START_MS, Server, ada};

#[tokio::test]
async fn an_open_sync_keeps_online_and_its_end_leaves_a_grace() {
    let server = Server::new();
    assert_eq!(server.get().await, UserPresence::offline());
    let sync = server.sync(PHONE, Online).await;
    assert_eq!(server.state().await, (Online, true));
    server.pass(59 * SECOND);
    assert_eq!(server.state().await, (Online, true));
    server.pass(SECOND);
    assert_eq!(server.state().await, (Online, false));
    drop(sync);
    server.pass(30 * SECOND - 1);
    assert_eq!(server.state().await, (Online, false));
    server.pass(1);
    assert_eq!(server.state().await, (Offline, false));
    assert_eq!(server.presence.get_cached(ada()), None, "memory is given back");
}

#[tokio::test]
async fn a_reconnect_within_the_grace_is_no_news() {
    let server = Server::new();
    let mut sync = server.sync(PHONE, Online).await;
    let sequence = server.presence.sequence();
    for _poll in 0..20 {
        server.pass(25 * SECOND);
        drop(sync);
        server.pass(25 * SECOND);
        sync = server.sync(PHONE, Online).await;
    }
    assert_eq!(server.state().await, (Online, true));
    assert_eq!(server.told(sequence), 0, "polling with `online` is activity without an end");
}

#[tokio::test]
async fn without_activity_online_becomes_unavailable() {
    let server = Server::new();
    let _socket = server.sync(PHONE, Online).await;
    server.pass(5 * MINUTE - 1);
    assert_eq!(server.state().await, (Online, false));
    server.pass(1);
    assert_eq!(server.state().await, (Unavailable, false));
    server.pass(60 * MINUTE);
    assert_eq!(server.state().await, (Unavailable, false), "an open socket never goes offline");
    server.beat(PHONE, true);
    assert_eq!(server.state().await, (Online, true));
}

#[tokio::test]
async fn heartbeats_alone_keep_online_for_a_minute() {
    let server = Server::new();
    server.beat(PHONE, true);
    assert_eq!(server.state().await, (Online, true));
    for _beat in 0..10 {
        server.pass(30 * SECOND);
        server.beat(PHONE, true);
    }
    assert_eq!(server.state().await, (Online, true));
    server.pass(60 * SECOND - 1);
    assert_eq!(server.state().await, (Online, true));
    server.pass(1);
    assert_eq!(server.state().await, (Offline, false));
}

#[tokio::test]
async fn one_heartbeat_counts_in_20_seconds() {
    let server = Server::new();
    server.beat(PHONE, true);
    server.pass(19_999);
    server.beat(PHONE, true);
    assert_eq!(server.get().await.last_active_ts, Some(START_MS));
    server.beat(PHONE, false);
    assert_eq!(server.state().await, (Online, true), "no flapping by two beats at once");
    server.pass(1);
    server.beat(PHONE, true);
    assert_eq!(server.get().await.last_active_ts, Some(START_MS + 20_000));
    // Expiry is reckoned from what counted.
    server.pass(19_999);
    server.beat(PHONE, true);
    server.pass(40_000);
    assert_eq!(server.state().await.0, Online);
    server.pass(1);
    assert_eq!(server.state().await.0, Offline);
}

#[tokio::test]
async fn an_idle_heartbeat_says_unavailable() {
    let server = Server::new();
    let _socket = server.sync(PHONE, Online).await;
    server.beat(PHONE, false);
    assert_eq!(server.state().await, (Unavailable, false));
    server.pass(30 * SECOND);
    server.beat(PHONE, true);
    assert_eq!(server.state().await, (Online, true));
}

#[tokio::test]
async fn devices_combine_to_the_most_available() {
    let server = Server::new();
    for (phone, laptop, combined) in [
        (Online, Online, Online),
        (Online, Unavailable, Online),
        (Unavailable, Online, Online),
        (Unavailable, Unavailable, Unavailable),
        (Offline, Unavailable, Unavailable),
        (Offline, Online, Online),
        (Offline, Offline, Offline),
    ] {
        let guards =
            [server.sync(PHONE, phone.clone()).await, server.sync(LAPTOP, laptop.clone()).await];
        assert_eq!(server.state().await.0, combined, "{phone} {laptop}");
        drop(guards);
        server.pass(MINUTE);
        assert_eq!(server.state().await.0, Offline);
    }
}

#[tokio::test]
async fn two_devices_that_poll_do_not_flap() {
    let server = Server::new();
    let phone = server.sync(PHONE, Online).await;
    let sequence = server.presence.sequence();
    for _poll in 0..50 {
        let laptop = server.sync(LAPTOP, Unavailable).await;
        server.pass(5 * SECOND);
        drop(laptop);
        server.beat(PHONE, true);
    }
    assert_eq!(server.told(sequence), 0);
    drop(phone);
    server.pass(MINUTE);
    let _laptop = server.sync(LAPTOP, Unavailable).await;
    server.pass(SECOND);
    assert_eq!(server.state().await.0, Unavailable, "the phone is gone, the laptop is there");
}

#[tokio::test]
async fn who_sets_offline_stays_so_until_they_choose() {
    let server = Server::new();
    let _socket = server.sync(PHONE, Online).await;
    server.set(Offline, None).await;
    assert_eq!(server.state().await.0, Offline);
    server.pass(MINUTE);
    server.beat(PHONE, true);
    server.presence.event_sent(ada(), device_id!("PHONE"));
    assert_eq!(server.state().await.0, Offline);
    server.set(Online, None).await;
    assert_eq!(server.state().await, (Online, true));
}

#[tokio::test]
async fn an_offline_sync_leaves_presence_alone() {
    let server = Server::new();
    let _socket = server.sync(PHONE, Offline).await;
    assert_eq!(server.get().await, UserPresence::offline());
    let laptop = server.sync(LAPTOP, Online).await;
    let _again = server.sync(PHONE, Offline).await;
    let _same = server.sync(LAPTOP, Offline).await;
    assert_eq!(server.state().await.0, Online);
    drop(laptop);
    server.pass(30 * SECOND);
    assert_eq!(server.state().await.0, Offline);
}

#[tokio::test]
async fn setting_without_a_sync_lasts_as_long_as_a_heartbeat() {
    let server = Server::new();
    server.set(Unavailable, Some("away")).await;
    assert_eq!(server.state().await.0, Unavailable);
    server.pass(60 * SECOND);
    assert_eq!(server.state().await.0, Offline);
}

#[tokio::test]
async fn sending_is_activity() {
    let server = Server::new();
    let _socket = server.sync(PHONE, Online).await;
    server.pass(6 * MINUTE);
    assert_eq!(server.state().await.0, Unavailable);
    server.presence.event_sent(ada(), device_id!("PHONE"));
    assert_eq!(server.state().await, (Online, true));
    server.presence.event_sent(ruma::user_id!("@bob:example.org"), device_id!("B"));
    let bob = server.presence.get(ruma::user_id!("@bob:example.org")).await.expect("read");
    assert_eq!(bob.presence, Offline, "who does not sync is not made online by sending");
}

#[tokio::test]
async fn what_is_no_presence_is_refused() {
    let server = Server::new();
    let set = async |presence: &str, status: Option<&str>| {
        let presence = PresenceState::from(presence);
        server.presence.set(ada(), device_id!("PHONE"), &presence, status).await
    };
    assert!(matches!(set("busyish", None).await, Err(PresenceError::InvalidState)));
    let long = "x".repeat(1025);
    assert!(matches!(set("online", Some(&long)).await, Err(PresenceError::StatusTooLong)));
    assert_eq!(server.get().await, UserPresence::offline());
}

#[tokio::test]
async fn turned_off_nobody_is_seen() {
    let server = Server::with(Config { enabled: false, ..Config::default() });
    let _sync = server.sync(PHONE, Online).await;
    server.beat(PHONE, true);
    server.set(Online, Some("here")).await;
    server.presence.event_sent(ada(), device_id!("PHONE"));
    assert_eq!(server.get().await, UserPresence::offline());
    assert_eq!(server.presence.sequence(), 0);
}

#[tokio::test]
async fn a_clock_that_jumps_does_not_stop_the_timers() {
    let server = Server::new();
    let sync = server.sync(PHONE, Online).await;
    // Back by a day while the sync is open, then on from there.
    server.clock.set(START_MS - 24 * 60 * MINUTE);
    server.pass(2 * SECOND);
    drop(sync);
    server.beat(LAPTOP, true);
    server.clock.set(START_MS + 24 * 60 * MINUTE);
    server.presence.tick(server.now());
    assert_eq!(server.state().await.0, Offline);
}
