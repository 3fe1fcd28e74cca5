//! The number on the icon.

use push::Config;
use serde_json::{Value, json};

use crate::{
    gateway::{Mood, event_ids},
    world::{World, config},
};

fn counts(taken: &[Value]) -> Vec<&Value> {
    taken.iter().map(|one| &one["counts"]["unread"]).collect()
}

#[tokio::test]
async fn rooms_are_counted_or_events() {
    for (count_rooms, expected) in [(true, [1, 1, 2]), (false, [1, 2, 3])] {
        let world = World::with(Config { count_rooms, ..config() }).await;
        let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
        let (one, two) =
            (world.shared_room(&[&ada, &ben]).await, world.shared_room(&[&ada, &ben]).await);
        let mut found = Vec::new();
        for room in [&one, &one, &two] {
            world.say(room, &ada, "hello").await;
            found.extend(world.gateway.takes(1).await);
        }
        assert_eq!(counts(&found), expected, "{count_rooms}");
    }
}

#[tokio::test]
async fn reading_lowers_the_number_and_that_is_told_once() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let (one, two) =
        (world.shared_room(&[&ada, &ben]).await, world.shared_room(&[&ada, &ben]).await);
    world.say(&one, &ada, "hello").await;
    let last = world.say(&one, &ada, "hello").await;
    let other = world.say(&two, &ada, "hello").await;
    assert_eq!(counts(&world.gateway.takes(3).await)[2], 2);
    world.read(&one, &ben, &last).await;
    let taken = world.gateway.takes(1).await;
    let device = json!({
        "app_id": "org.example.app",
        "pushkey": "ben",
        "pushkey_ts": crate::world::START_MS / 1000,
        "data": { "own": 7 },
    });
    assert_eq!(taken, [json!({ "counts": { "unread": 1 }, "devices": [device] })]);
    // Writing reads too.
    world.say(&two, &ben, "hello yourself").await;
    assert_eq!(counts(&world.gateway.takes(1).await), [0]);
    // What changes nothing is not told.
    world.read(&two, &ben, &other).await;
    let next = world.say(&two, &ada, "again").await;
    let taken = world.gateway.takes(1).await;
    assert_eq!((event_ids(&taken), counts(&taken)), (vec![next.as_str()], vec![&json!(1)]));
}

#[tokio::test]
async fn what_is_read_before_it_is_told_is_not_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", Mood::Fails);
    world.say(&room, &ada, "one").await;
    let two = world.say(&room, &ada, "two").await;
    world.gateway.is_tried(1).await;
    world.read(&room, &ben, &two).await;
    let three = world.say(&room, &ada, "three").await;
    world.gateway.becomes("push.example", Mood::Takes);
    let mut taken = Vec::new();
    while event_ids(&taken).last() != Some(&three.as_str()) {
        taken.extend(world.gateway.takes(1).await);
    }
    // One may have been on its way.
    assert!(!event_ids(&taken).contains(&two.as_str()), "{taken:?}");
    assert_eq!(taken.last().expect("one")["counts"]["unread"], 1);
}
