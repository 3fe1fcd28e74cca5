//! Peers that will not have a transaction: what they do not like must not stand in the way of the
//! rest, or take it along.

use std::time::Duration;

use serde_json::Value;

use super::{
    wire::{Mood, has_pdu_with},
    world::{PEER, World, hasty, user},
};

type Judge = fn(&Value) -> Option<(u16, &'static str)>;

const BAD_JSON: &str = r#"{"errcode":"M_BAD_JSON","error":"cannot read that"}"#;

#[tokio::test]
async fn one_thing_that_is_not_liked_takes_nothing_along() {
    let judges: [(&str, Judge, usize); 4] = [
        ("400", |body| has_pdu_with(body, "a33").then_some((400, BAD_JSON)), 1),
        ("413", |body| has_pdu_with(body, "a33").then_some((413, BAD_JSON)), 1),
        ("413 of a proxy", |body| has_pdu_with(body, "a33").then_some((413, "<html>")), 1),
        // Nothing is lost if it is only too much at once.
        (
            "too many",
            |body| {
                let count = body["pdus"].as_array().map_or(0, Vec::len);
                (count > 7).then_some((413, "<html>"))
            },
            0,
        ),
    ];
    for (row, judge, lost) in judges {
        let mut world = World::with_peer(hasty()).await;
        world.wire.set(PEER, Mood::Down);
        let mut texts = world.say_all("a", 70).await;
        world.stop().await;
        world.wire.forget();
        world.wire.set(PEER, Mood::Picky(judge));
        world.start(hasty());
        if lost > 0 {
            texts.remove(33);
        }
        world.wire.until(row, |wire| wire.texts(PEER).len() >= texts.len()).await;
        assert_eq!(world.wire.texts(PEER), texts, "{row}");
        // Found by halves, not one by one; and afterwards all is as before.
        let tries = world.wire.tries(PEER).len();
        assert!(tries < 30, "{row}: {tries}");
    }
}

/// Hazard H4: what it says of single events is in whatever form it likes, and everything arrives
/// once.
#[tokio::test]
async fn an_answer_that_says_odd_things_of_events_is_an_answer() {
    for body in [
        "{}",
        r#"{"pdus":[]}"#,
        r#"{"pdus":null}"#,
        r#"{"pdus":"x"}"#,
        r#"{"pdus":{"$x":7,"":{"error":[]}}}"#,
        r#"{"pdus":{},"pdus":1.5}"#,
    ] {
        let world = World::with_peer(hasty()).await;
        world.wire.set(PEER, Mood::Says(200, body));
        let texts = world.say_all("a", 60).await;
        world.wire.until_texts(PEER, &texts).await;
    }
}

#[tokio::test]
async fn a_message_that_is_not_liked_takes_no_event_along() {
    let world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    let texts = world.say_all("a", 10).await;
    let eve = user("eve", PEER);
    for id in ["m0", "bad", "m1"] {
        world.message(&eve, id).await;
    }
    let judge: Judge = |body| body.to_string().contains(r#""id":"bad""#).then_some((400, BAD_JSON));
    world.wire.set(PEER, Mood::Picky(judge));
    world.wire.until_texts(PEER, &texts).await;
    world
        .wire
        .until("the good messages arrive", |wire| {
            let taken: String = wire.taken(PEER).iter().map(|one| one.body.to_string()).collect();
            taken.contains(r#""id":"m0""#) && taken.contains(r#""id":"m1""#)
        })
        .await;
    assert!(world.wire.taken(PEER).iter().all(|one| !one.body.to_string().contains("\"bad\"")));
}

#[tokio::test]
async fn a_notice_that_is_not_liked_takes_no_event_along() {
    let world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    world.say("first").await;
    world.wire.until_tried(PEER, 1).await;
    let judge: Judge = |body| body.to_string().contains("m.typing").then_some((400, BAD_JSON));
    world.type_for(&world.ada, Duration::from_secs(60)).await;
    world.say("second").await;
    world.wire.set(PEER, Mood::Picky(judge));
    world.wire.until_texts(PEER, &["first".to_owned(), "second".to_owned()]).await;
}

#[tokio::test]
async fn who_refuses_everything_is_not_asked_the_more_often() {
    let mut world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    world.say_all("a", 50).await;
    world.stop().await;
    world.wire.forget();
    world.wire.set(PEER, Mood::Says(400, BAD_JSON));
    let minute = Duration::from_secs(60);
    world.start(federation::Config { retry_min: minute, ..hasty_for_hours() });
    world.wire.until_tried(PEER, 1).await;
    world.stop_the_clock().await;
    world.wire.until_tried(PEER, 12).await;
    let tries = world.wire.tries(PEER);
    let gaps: Vec<_> = tries.windows(2).map(|two| two[1].at - two[0].at).collect();
    let long = gaps.iter().filter(|gap| **gap > minute / 2).count();
    assert!(long >= 4, "it is left alone for longer and longer: {gaps:?}");
}

fn hasty_for_hours() -> federation::Config {
    federation::Config { retry_max: Duration::from_secs(3600), ..hasty() }
}
