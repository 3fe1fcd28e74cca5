//! Typing and receipts: the newest of each, as long as it is of use.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    wire::{Mood, Try, Wire},
    world::{PEER, World, hasty, user},
};

const SECOND: Duration = Duration::from_secs(1);

/// When and what the peer was told of a user's typing.
fn typing(wire: &Wire) -> Vec<(Instant, bool)> {
    let taken = wire.taken(PEER);
    let told = |one: &Try| -> Vec<_> {
        let edus = one.edus_of("m.typing");
        edus.iter().map(|edu| (one.at, edu["typing"] == true)).collect()
    };
    taken.iter().flat_map(told).collect()
}

/// Contents of receipts that the peer was told of.
fn receipts(wire: &Wire) -> Vec<Value> {
    let taken = wire.taken(PEER);
    taken.iter().flat_map(|one| one.edus_of("m.receipt")).cloned().collect()
}

#[tokio::test]
async fn typing_is_renewed_and_ends() {
    let world = World::with_peer(hasty()).await;
    world.say("a").await;
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.stop_the_clock().await;
    world.type_for(&world.ada, 100 * SECOND).await;
    world.wire.pass(90 * SECOND).await;
    world.rooms.stop_typing(&world.room, &world.ada).await.expect("stops");
    world.wire.until("it ended", |wire| typing(wire).last().is_some_and(|told| !told.1)).await;
    let told = typing(&world.wire);
    // Our own side, for one, believes it for 30 seconds.
    assert!(told.windows(2).all(|two| two[1].0 - two[0].0 < 30 * SECOND), "{told:?}");
    assert!(told.len() < 10, "{told:?}");
    assert_eq!(told.iter().filter(|told| !told.1).count(), 1);
    world.wire.pass(60 * SECOND).await;
    assert_eq!(typing(&world.wire).len(), told.len(), "it is not renewed any more");
}

#[tokio::test]
async fn typing_that_was_long_ago_is_not_told() {
    let world = World::with_peer(federation::Config {
        retry_min: 50 * SECOND,
        retry_max: 500 * SECOND,
        ..hasty()
    })
    .await;
    world.wire.set(PEER, Mood::Down);
    world.say("a").await;
    world.wire.until_tried(PEER, 1).await;
    world.stop_the_clock().await;
    world.type_for(&world.ada, 10 * SECOND).await;
    world.wire.until_tried(PEER, 5).await;
    world.wire.set(PEER, Mood::Well);
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.wire.pass(1000 * SECOND).await;
    assert_eq!(typing(&world.wire), []);
}

#[tokio::test]
async fn only_the_newest_receipt_of_each_thread_is_told() {
    let world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    let first = world.say("a").await;
    world.wire.until_tried(PEER, 1).await;
    let second = world.say("b").await;
    for event in [&first, &second] {
        world.read(&world.ada, event, None).await;
        world.read(&world.ada, event, Some("main")).await;
    }
    // Read by somebody else is somebody else's to tell.
    world.read(&user("eve", PEER), &second, None).await;
    world.wire.set(PEER, Mood::Well);
    let third = world.say("c").await;
    world
        .wire
        .until("all is there", |wire| wire.texts(PEER).len() == 3 && receipts(wire).len() == 2)
        .await;
    for (content, thread) in receipts(&world.wire).iter().zip([None, Some("main")]) {
        let receipt = &content[world.room.as_str()]["m.read"][world.ada.as_str()];
        assert_eq!(receipt["event_ids"], json!([second]));
        assert_eq!(receipt["data"]["thread_id"].as_str(), thread);
        assert!(receipt["data"]["ts"].is_u64());
        assert_eq!(
            content[world.room.as_str()]["m.read"].as_object().map(|users| users.len()),
            Some(1)
        );
    }
    drop(third);
}

#[tokio::test]
async fn receipts_are_not_told_again_after_a_restart() {
    let mut world = World::with_peer(hasty()).await;
    let event = world.say("a").await;
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.read(&world.ada, &event, None).await;
    world.wire.until("the receipt is there", |wire| receipts(wire).len() == 1).await;
    world.stop().await;
    world.wire.forget();
    world.start(hasty());
    let event = world.say("b").await;
    world.read(&world.ada, &event, None).await;
    world.wire.until("the new receipt is there", |wire| !receipts(wire).is_empty()).await;
    let told = receipts(&world.wire);
    assert_eq!(told.len(), 1);
    let receipt = &told[0][world.room.as_str()]["m.read"][world.ada.as_str()];
    assert_eq!(receipt["event_ids"], json!([event]));
}

#[tokio::test]
async fn no_transaction_holds_more_than_is_allowed() {
    let world = World::with_peer(hasty()).await;
    let locals = world.locals(60).await;
    world
        .wire
        .until("they are known", |wire| {
            wire.taken(PEER).iter().map(|one| one.pdus().len()).sum::<usize>() >= 60
        })
        .await;
    world.wire.set(PEER, Mood::Down);
    let mut roots = Vec::new();
    for number in 0..60 {
        roots.push(world.say(&format!("a{number}")).await);
    }
    for number in 0..100 {
        world.message(&user("eve", PEER), &format!("m{number}")).await;
    }
    for (local, root) in locals.iter().zip(&roots) {
        world.type_for(local, 100 * SECOND).await;
        world.read(local, root, None).await;
        // As many receipts of one user as cannot stand in one EDU.
        world.read(&world.ada, root, Some(root.as_str())).await;
        world.be(local, ruma::presence::PresenceState::Online, None).await;
    }
    world.wire.set(PEER, Mood::Well);
    world.wire.forget();
    let told = |wire: &Wire| {
        let taken = wire.taken(PEER);
        let count = |edu_type| taken.iter().map(|one| one.edus_of(edu_type).len()).sum::<usize>();
        let states = taken.iter().flat_map(|one| one.edus_of("m.presence"));
        let states: usize = states.map(|edu| edu["push"].as_array().map_or(0, Vec::len)).sum();
        (count("m.direct_to_device"), count("m.typing"), count("m.receipt"), states)
    };
    world
        .wire
        .until("all is there", |wire| {
            let (to_device, typing, receipts, states) = told(wire);
            to_device == 100 && typing == 60 && receipts >= 60 && states >= 60
        })
        .await;
    for one in world.wire.tries(PEER) {
        assert!(one.pdus().len() <= 50, "{}", one.pdus().len());
        assert!(one.edus().len() <= 100, "{}", one.edus().len());
    }
}
