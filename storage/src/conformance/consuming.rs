//! Consumers: what is theirs is done once, and the log is kept for them and no longer.

use std::time::Duration;

use super::{Things, fact, open, thing};
use crate::{
    batch::Batch,
    log::{Consumer, KEPT, Position},
    store::{Config, Store},
};

async fn commit_facts(store: &Store, facts: u64) {
    for begin in (0..facts).step_by(1000) {
        let mut batch = Batch::new();
        for number in begin..facts.min(begin + 1000) {
            batch.fact(fact(&format!("{number}")));
        }
        store.commit(batch).await.expect("the batch is applied");
    }
}

/// Takes facts up to a position; says at which they began.
async fn take_to(consumer: &mut Consumer, last: Position) -> Position {
    let (mut first, mut seen) = (None, 0);
    while seen < last {
        let next = tokio::time::timeout(Duration::from_secs(20), consumer.next());
        let facts = next.await.expect("it goes on").expect("the store is open");
        first = first.or(facts.first().map(|fact| fact.position));
        seen = facts.last().expect("facts").position;
    }
    first.expect("there was something to take")
}

async fn first_kept(store: &Store) -> Position {
    let facts = store.facts(0, u64::MAX - 1, 1).await.expect("the log is read");
    facts.first().expect("something is kept").position
}

fn row(name: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put::<Things>("p", (0, &b""[..]), &thing(name));
    batch
}

/// What follows from some facts is there once they are done with, and not one without the other.
pub async fn a_consumer_goes_on_where_it_was(config: Config) {
    let store = open(&config);
    commit_facts(&store, 5).await;
    let mut consumer = store.consume("c", 3);
    assert_eq!(take_to(&mut consumer, 5).await, 4, "it begins after what it is told");
    commit_facts(&store, 2).await;
    assert_eq!(take_to(&mut consumer, 7).await, 6);
    consumer.commit(row("seven")).await;
    commit_facts(&store, 2).await;
    assert_eq!(take_to(&mut consumer, 9).await, 8);
    drop((consumer, store));

    let store = open(&config);
    let row = store.get::<Things>("p", (0, &b""[..])).await.expect("read");
    assert_eq!(row.expect("it is there").text, "seven");
    let mut consumer = store.consume("c", 9);
    assert_eq!(take_to(&mut consumer, 9).await, 8, "what was not committed comes again");
    let mut other = store.consume("d", 0);
    assert_eq!(take_to(&mut other, 9).await, 1, "each name has a place of its own");
}

/// That it began is on disk before what comes after, although it has not asked for a fact yet.
pub async fn a_consumer_that_only_began_misses_nothing(config: Config) {
    let store = open(&config);
    commit_facts(&store, 5).await;
    drop(store.consume("c", 5));
    commit_facts(&store, 1).await;
    drop(store);

    let store = open(&config);
    let mut consumer = store.consume("c", 6);
    assert_eq!(take_to(&mut consumer, 6).await, 6);
}

/// Without a word of the consumer's, since nothing follows from most facts.
pub async fn a_consumer_that_only_reads_comes_on(config: Config) {
    let store = open(&config);
    let mut consumer = store.consume("c", 0);
    commit_facts(&store, 2 * KEPT).await;
    take_to(&mut consumer, 2 * KEPT).await;
    assert_eq!(store.log().consumers().len(), 1);
    let (name, done) = store.log().consumers()[0];
    assert!(name == "c" && done >= KEPT, "{name}: {done}");
    drop((consumer, store));

    let store = open(&config);
    let mut consumer = store.consume("c", 0);
    assert!(take_to(&mut consumer, 2 * KEPT).await > KEPT);
}

pub async fn what_everybody_is_past_is_pruned(config: Config) {
    let store = open(&config);
    let (mut quick, mut slow) = (store.consume("quick", 0), store.consume("slow", 0));
    let mut follower = store.follow(0);
    let end = 4 * KEPT;
    commit_facts(&store, end).await;
    take_to(&mut quick, end).await;
    quick.commit(Batch::new()).await;
    let prune = async |row: &str, first: Position| {
        store.prune_passed().await.expect("the log is pruned");
        assert_eq!(first_kept(&store).await, first, "{row}");
    };
    prune("one has not begun", 1).await;
    take_to(&mut slow, 2 * KEPT).await;
    slow.commit(Batch::new()).await;
    prune("a follower without a name holds the log too", 1).await;
    follower.next().await.expect("the log is read").expect("the store is open");
    prune("what was returned last may be in use", 1).await;
    drop(follower);
    prune("it has gone; the slow one is half way", KEPT + 1).await;
    take_to(&mut slow, end).await;
    prune("half of what it read is noted, the rest may come again", 2 * KEPT + 1).await;
    slow.commit(Batch::new()).await;
    prune("all are at the end", end - KEPT + 1).await;
    commit_facts(&store, 1).await;
    assert_eq!(take_to(&mut slow, end + 1).await, end + 1, "nobody is disturbed");
}

/// The task does the same by itself, as they come on.
pub async fn the_log_is_pruned_as_it_is_followed(config: Config) {
    let store = open(&config);
    let mut consumer = store.consume("c", 0);
    let end = 3 * KEPT;
    commit_facts(&store, end).await;
    let follow = async {
        take_to(&mut consumer, end).await;
        consumer.commit(Batch::new()).await;
        while first_kept(&store).await <= end - KEPT {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = store.clone().prune_followed() => unreachable!("it goes on for ever"),
        done = tokio::time::timeout(Duration::from_secs(20), follow) => done.expect("in time"),
    }
    assert_eq!(store.log().position(), end);
}

/// Somebody who was switched off for long does not make the disk full, and is not stuck afterwards.
pub async fn nobody_waits_for_who_is_not_there(config: Config) {
    let store = open(&config);
    let mut away = store.consume("away", 0);
    commit_facts(&store, 10).await;
    take_to(&mut away, 10).await;
    away.commit(Batch::new()).await;
    drop(away);
    commit_facts(&store, 3 * KEPT).await;
    let mut there = store.consume("there", store.log().position());
    commit_facts(&store, 1).await;
    take_to(&mut there, 3 * KEPT + 11).await;
    there.commit(Batch::new()).await;
    store.prune_passed().await.expect("the log is pruned");
    let first = first_kept(&store).await;
    assert!(first > KEPT, "{first}");
    let mut away = store.consume("away", 0);
    assert_eq!(take_to(&mut away, 3 * KEPT + 11).await, first);
}
