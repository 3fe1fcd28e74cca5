//! When a peer that does not answer is tried: less and less often, and at once when it is heard of.

use std::time::Duration;

use federation::Config;
use tokio::time::Instant;

use super::{
    wire::{Mood, Wire},
    world::{PEER, World},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn patient() -> Config {
    Config { retry_min: SECOND, retry_max: HOUR, ..Config::default() }
}

fn gaps(wire: &Wire) -> Vec<Duration> {
    wire.tries(PEER).windows(2).map(|two| two[1].at - two[0].at).collect()
}

#[track_caller]
fn assert_about(gap: Duration, expected: Duration) {
    let (low, high) = (expected.mul_f64(0.8), expected.mul_f64(1.4) + Duration::from_millis(2));
    assert!(low <= gap && gap <= high, "{gap:?} is not about {expected:?}");
}

/// A world whose peer has not answered for a while, with the clock stopped.
async fn dead_peer(tries: usize) -> World {
    let world = World::with_peer(patient()).await;
    world.wire.set(PEER, Mood::Down);
    world.say("a").await;
    world.wire.until_tried(PEER, 1).await;
    world.stop_the_clock().await;
    world.wire.until_tried(PEER, tries).await;
    world
}

#[tokio::test]
async fn pauses_grow_up_to_a_bound() {
    let world = dead_peer(18).await;
    for (number, gap) in gaps(&world.wire).into_iter().enumerate() {
        let doubled = SECOND * (1 << number.min(20));
        assert_about(gap, doubled.min(HOUR));
    }
}

#[tokio::test]
async fn pauses_are_remembered_over_a_restart() {
    let mut world = dead_peer(8).await;
    world.stop().await;
    world.wire.forget();
    let begin = Instant::now();
    world.start(patient());
    world.wire.until_tried(PEER, 3).await;
    let tries = world.wire.tries(PEER);
    assert!(tries[0].at - begin < 6 * SECOND, "a start is a reason to try");
    assert_about(tries[1].at - tries[0].at, 256 * SECOND);
    assert_about(tries[2].at - tries[1].at, 512 * SECOND);
}

#[tokio::test]
async fn an_answer_ends_all_pauses_for_good() {
    let mut world = dead_peer(8).await;
    world.wire.set(PEER, Mood::Well);
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.stop().await;
    world.wire.forget();
    world.wire.set(PEER, Mood::Down);
    world.start(patient());
    world.say("b").await;
    world.wire.until_tried(PEER, 2).await;
    assert_about(gaps(&world.wire)[0], SECOND);
}

#[tokio::test]
async fn who_makes_contact_is_tried_at_once() {
    let world = dead_peer(16).await;
    world.wire.set(PEER, Mood::Well);
    let begin = Instant::now();
    world.hear_from("other.test");
    world.hear_from(PEER);
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn contact_breaks_off_what_waits_for_a_dead_connection() {
    let world = dead_peer(3).await;
    world.wire.set(PEER, Mood::Silent);
    world.wire.until_tried(PEER, 4).await;
    world.wire.pass(10 * SECOND).await;
    world.wire.set(PEER, Mood::Well);
    let begin = Instant::now();
    world.hear_from(PEER);
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    let tries = world.wire.tries(PEER);
    assert!(tries.iter().all(|one| one.raw == tries[0].raw && one.path == tries[0].path));
}

#[tokio::test]
async fn who_asks_all_the_time_and_never_answers_is_not_tried_all_the_time() {
    let world = dead_peer(10).await;
    world.wire.forget();
    let begin = Instant::now();
    while begin.elapsed() < 10 * SECOND {
        world.hear_from(PEER);
        world.wire.pass(Duration::from_millis(1)).await;
    }
    let tries = world.wire.tries(PEER).len();
    assert!((5..=45).contains(&tries), "{tries} in ten seconds");
}
