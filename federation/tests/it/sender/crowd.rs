//! Many peers at once: those that are gone cost the others nothing.

use std::time::Duration;

use super::{
    wire::Mood,
    world::{PEER, World, hasty},
};

const DEAD: usize = 500;

fn dead(number: usize) -> String {
    format!("dead{number}.test")
}

#[tokio::test]
async fn the_dead_do_not_hold_up_the_living() {
    let mut world = World::new().await;
    world.come(PEER).await;
    world.come("garbage.test").await;
    world.wire.set("garbage.test", Mood::Says(200, "<html>"));
    for number in 0..DEAD {
        let mood = if number % 2 == 0 { Mood::Down } else { Mood::Silent };
        world.wire.set(&dead(number), mood);
        world.come(&dead(number)).await;
    }
    world.start(hasty());
    let mut texts = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let begin = tokio::time::Instant::now();
        texts.push(format!("a{round}"));
        world.say(&texts[round]).await;
        world.wire.until_texts(PEER, &texts).await;
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    world
        .wire
        .until("all were tried", |wire| {
            (0..DEAD).all(|number| !wire.tries(&dead(number)).is_empty())
        })
        .await;
    // That each has one transaction at a time is the wire's to see.
}

#[tokio::test]
async fn few_of_those_who_do_not_answer_are_tried_at_one_time() {
    let mut world = World::new().await;
    for number in 0..DEAD {
        world.wire.set(&dead(number), Mood::Silent);
        world.come(&dead(number)).await;
    }
    world.start(hasty());
    world.say("a").await;
    world
        .wire
        .until("all were tried", |wire| {
            (0..DEAD).all(|number| !wire.tries(&dead(number)).is_empty())
        })
        .await;
    world.stop_the_clock().await;
    world.wire.pass(Duration::from_secs(61)).await;
    world.wire.forget();
    world.wire.pass(Duration::from_secs(600)).await;
    let most = world.wire.most_in_flight();
    assert!((1..=64).contains(&most), "{most}");
    // One that comes back and says so does not wait for its turn.
    world.wire.set(&dead(7), Mood::Well);
    let begin = tokio::time::Instant::now();
    world.hear_from(&dead(7));
    world.wire.until_texts(&dead(7), &["a".to_owned()]).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
