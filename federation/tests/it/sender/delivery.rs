//! Events and messages to devices arrive: all, in their order, whatever happens to the peer or to us.

use std::time::Duration;

use serde_json::Value;

use super::{
    wire::{Mood, Try, has_pdu_with},
    world::{PEER, World, hasty, user},
};

#[tokio::test]
async fn events_arrive_in_their_order_and_are_not_sent_again() {
    let mut world = World::with_peer(hasty()).await;
    let mut texts = world.say_all("a", 60).await;
    world.wire.until_texts(PEER, &texts).await;
    world.stop().await;
    world.start(hasty());
    texts.push("last".to_owned());
    world.say("last").await;
    world.wire.until_texts(PEER, &texts).await;
}

#[tokio::test]
async fn a_transaction_is_repeated_as_it_is_until_it_is_answered() {
    let error = r#"{"errcode":"M_UNKNOWN","error":"no"}"#;
    let moods = [
        ("it is down", Mood::Down),
        ("500", Mood::Says(500, error)),
        ("502 of a proxy", Mood::Says(502, "<html>Bad Gateway</html>")),
        ("401", Mood::Says(401, r#"{"errcode":"M_UNAUTHORIZED","error":"no"}"#)),
        ("403", Mood::Says(403, r#"{"errcode":"M_FORBIDDEN","error":"no"}"#)),
        ("404", Mood::Says(404, r#"{"errcode":"M_UNRECOGNIZED","error":"no"}"#)),
        ("429", Mood::Says(429, r#"{"errcode":"M_LIMIT_EXCEEDED","error":"no"}"#)),
        ("400 of a proxy", Mood::Says(400, "<html>Bad Request</html>")),
        ("302", Mood::Says(302, "")),
        ("200 of something else", Mood::Says(200, "<html>It works!</html>")),
        ("200 with nothing", Mood::Says(200, "")),
        ("200 with a list", Mood::Says(200, "[]")),
    ];
    for (row, mood) in moods {
        let world = World::with_peer(hasty()).await;
        world.wire.set(PEER, mood);
        world.say("a").await;
        world.wire.until_tried(PEER, 1).await;
        world.say("b").await;
        world.type_for(&world.ada, Duration::from_secs(60)).await;
        world.wire.until_tried(PEER, 4).await;
        world.wire.set(PEER, Mood::Well);
        world.wire.until_texts(PEER, &["a".to_owned(), "b".to_owned()]).await;
        let tries = world.wire.tries(PEER);
        let same = tries.iter().take_while(|one| one.path == tries[0].path).count();
        assert!(same >= 5, "{row}: {same}");
        assert!(tries[..same].iter().all(|one| one.raw == tries[0].raw), "{row}");
        assert_eq!(tries.iter().filter(|one| one.taken).count(), tries.len() - same + 1, "{row}");
    }
}

#[tokio::test]
async fn after_a_restart_the_oldest_comes_first_and_what_had_no_answer_as_it_was() {
    let mut world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    let mut texts = world.say_all("before", 130).await;
    for number in 0..100 {
        world.message(&user("eve", PEER), &format!("m{number}")).await;
    }
    world.wire.until_tried(PEER, 2).await;
    world.stop().await;
    let old = world.wire.tries(PEER).remove(0);
    world.wire.forget();
    // Nobody sends, but the log grows.
    texts.extend(world.say_all("meanwhile", 30).await);
    world.wire.set(PEER, Mood::Well);
    world.start(hasty());
    world.wire.until_texts(PEER, &texts).await;
    let ids = |tries: &[Try]| -> Vec<String> {
        let edus = tries.iter().flat_map(|one| one.edus_of("m.direct_to_device"));
        edus.map(|edu| edu["messages"]["@eve:peer.test"]["*"]["id"].to_string()).collect()
    };
    world.wire.until("the messages arrived", |wire| ids(&wire.taken(PEER)).len() >= 100).await;
    let tries = world.wire.tries(PEER);
    let messages: Vec<_> = (0..100).map(|number| format!("\"m{number}\"")).collect();
    assert_eq!(ids(&tries), messages);
    assert!(tries[0].path == old.path && tries[0].raw == old.raw);
    assert!(tries[1..].iter().all(|one| one.pdus().len() <= 50 && one.path != old.path));
    assert!(tries.len() <= 6, "a few full transactions: {}", tries.len());
}

#[tokio::test]
async fn what_had_no_answer_before_a_restart_is_sent_again_with_its_notices() {
    let mut world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    world.say("first").await;
    world.wire.until_tried(PEER, 1).await;
    // Both are there when the next transaction is made.
    world.type_for(&world.ada, Duration::from_secs(60)).await;
    world.message(&user("eve", PEER), "m0").await;
    world.say("second").await;
    let fails = |body: &Value| has_pdu_with(body, "second").then_some((500, "{}"));
    world.wire.set(PEER, Mood::Picky(fails));
    let is_second = |one: &Try| has_pdu_with(&one.body, "second");
    world.wire.until("it failed", |wire| wire.tries(PEER).iter().any(is_second)).await;
    let tries = world.wire.tries(PEER);
    let old = tries.iter().find(|one| is_second(one)).expect("it was tried");
    assert_eq!(old.edus_of("m.direct_to_device").len(), 1);
    assert_eq!(old.edus_of("m.typing").len(), 1);
    world.stop().await;
    world.wire.forget();
    world.wire.set(PEER, Mood::Well);
    world.clock.advance(3_600_000);
    world.start(hasty());
    world.wire.until_texts(PEER, &["second".to_owned()]).await;
    let new = world.wire.tries(PEER).remove(0);
    assert!(new.path == old.path && new.raw == old.raw);
    // That was all.
    world.say("third").await;
    world.wire.until_texts(PEER, &["second".to_owned(), "third".to_owned()]).await;
}

#[tokio::test]
async fn what_happened_before_the_first_start_is_not_sent_and_all_after_it_is() {
    let mut world = World::new().await;
    world.come(PEER).await;
    world.say("too early").await;
    world.start(hasty());
    // The process ends before any of its tasks has run.
    world.stop().await;
    world.say("a").await;
    world.start(hasty());
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
}

#[tokio::test]
async fn large_events_go_a_few_at_a_time() {
    let world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Down);
    let text = |number| format!("{number}{}", "x".repeat(50_000));
    let texts: Vec<_> = (0..20).map(text).collect();
    for text in &texts {
        world.say(text).await;
    }
    world.wire.set(PEER, Mood::Well);
    world.wire.until_texts(PEER, &texts).await;
    let largest = world.wire.tries(PEER).iter().map(|one| one.raw.len()).max();
    assert!(largest.is_some_and(|bytes| bytes < 400_000), "{largest:?}");
}

#[tokio::test]
async fn errors_of_single_events_are_not_sent_again() {
    let world = World::with_peer(hasty()).await;
    world.wire.set(PEER, Mood::Says(200, r#"{"pdus":{"$any":{"error":"not liked"},"x":5}}"#));
    world.say("a").await;
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.say("b").await;
    world.wire.until_texts(PEER, &["a".to_owned(), "b".to_owned()]).await;
}
