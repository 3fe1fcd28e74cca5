//! What waits for a peer that does not come back is bounded, in number and in time.

use federation::Config;

use super::{
    wire::{Mood, Wire},
    world::{PEER, World, hasty, new_room, user},
};

/// Milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Ids of the messages to devices that the peer took.
fn messages(wire: &Wire) -> Vec<String> {
    let mut ids = Vec::new();
    for one in wire.taken(PEER) {
        for content in one.edus_of("m.direct_to_device") {
            let id = content["messages"]["@eve:peer.test"]["*"]["id"].as_str();
            ids.push(id.expect("an id").to_owned());
        }
    }
    ids
}

/// A world whose peer is down, with one transaction under way.
async fn dead_peer(config: Config) -> World {
    let world = World::with_peer(config).await;
    world.wire.set(PEER, Mood::Down);
    world.say("first").await;
    world.wire.until_tried(PEER, 1).await;
    world
}

#[tokio::test]
async fn beyond_the_bound_the_newest_of_each_room_are_kept() {
    let world = dead_peer(Config { waiting_max: 100, ..hasty() }).await;
    let quiet = new_room(&world.rooms, &world.ada).await;
    let eve = user("eve", PEER);
    world.come_as(&eve, &quiet, "join").await;
    world.say_in(&quiet, "quiet").await;
    let said = world.say_all("a", 250).await;
    for number in 0..250 {
        world.message(&eve, &format!("m{number}")).await;
    }
    // All of it was counted, since the log is followed in its order.
    let tried = world.wire.tries(PEER).len();
    world.wire.until_tried(PEER, tried + 2).await;
    world.wire.set(PEER, Mood::Well);
    let has = |wire: &Wire, text: &str| wire.texts(PEER).iter().any(|other| other == text);
    world.wire.until("the last arrives", |wire| has(wire, "a249")).await;
    world
        .wire
        .until("the last message arrives", |wire| {
            messages(wire).last().is_some_and(|id| id == "m249")
        })
        .await;
    let texts = world.wire.texts(PEER);
    assert_eq!(texts[..2], ["first", "quiet"], "what is under way stays, as does a quiet room");
    assert!(texts.len() <= 102, "{}", texts.len());
    assert_eq!(texts[2..], said[said.len() - (texts.len() - 2)..], "the newest, in their order");
    let messages = messages(&world.wire);
    assert!((50..=100).contains(&messages.len()), "{}", messages.len());
    let newest: Vec<_> = (250 - messages.len()..250).map(|number| format!("m{number}")).collect();
    assert_eq!(messages, newest);
}

#[tokio::test]
async fn after_a_month_the_newest_of_each_room_is_kept() {
    let mut world = dead_peer(hasty()).await;
    world.say_all("a", 20).await;
    world.message(&user("eve", PEER), "m0").await;
    world.clock.advance(29 * DAY);
    world.stop().await;
    world.start(hasty());
    let tried = world.wire.tries(PEER).len();
    world.wire.until_tried(PEER, tried + 3).await;
    // Restarts do not begin the month anew.
    world.clock.advance(2 * DAY);
    world.wire.until_tried(PEER, tried + 6).await;
    world.wire.set(PEER, Mood::Well);
    world.wire.until_texts(PEER, &["first".to_owned(), "a19".to_owned()]).await;
    // Now all is as before.
    world.message(&user("eve", PEER), "m1").await;
    world.wire.until("the message arrives", |wire| !messages(wire).is_empty()).await;
    assert_eq!(messages(&world.wire), ["m1"]);
}

#[tokio::test]
async fn for_less_than_a_month_all_is_kept() {
    let world = dead_peer(hasty()).await;
    let mut texts = vec!["first".to_owned()];
    texts.extend(world.say_all("a", 20).await);
    world.clock.advance(29 * DAY);
    let tried = world.wire.tries(PEER).len();
    world.wire.until_tried(PEER, tried + 3).await;
    world.wire.set(PEER, Mood::Well);
    world.wire.until_texts(PEER, &texts).await;
}
