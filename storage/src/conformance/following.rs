//! The log: positions, and followers at every speed.

use std::time::Duration;

use super::{Things, fact, open, thing};
use crate::{
    batch::Batch,
    log::{Follower, LoggedFact, Position},
    store::{CommitError, Config, Store},
};

async fn commit_facts(store: &Store, facts: usize) -> Position {
    let mut batch = Batch::new();
    for number in 0..facts {
        batch.fact(fact(&format!("{number}")));
    }
    store.commit(batch).await.expect("the batch is applied")
}

/// Reads until a position; a follower that stalls fails the test instead of hanging it.
async fn read_to(follower: &mut Follower, last: Position) -> Vec<LoggedFact> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|fact: &LoggedFact| fact.position < last) {
        let next = tokio::time::timeout(Duration::from_secs(20), follower.next());
        let facts = next.await.expect("the follower goes on").expect("the log is read");
        let facts = facts.expect("the store is open");
        assert!(!facts.is_empty());
        seen.extend(facts.iter().cloned());
    }
    seen
}

fn positions(facts: &[LoggedFact]) -> Vec<Position> {
    facts.iter().map(|fact| fact.position).collect()
}

pub async fn positions_are_consecutive(config: Config) {
    let store = open(&config);
    assert_eq!(store.log().position(), 0);
    assert_eq!(commit_facts(&store, 3).await, 1);
    assert_eq!(store.log().position(), 3);
    assert_eq!(commit_facts(&store, 0).await, 3, "without facts: the last one before");
    assert_eq!(commit_facts(&store, 1).await, 4);

    let built = store.submit_with::<CommitError>(|position| {
        let mut batch = Batch::new();
        batch.put::<Things>("p", (position, &b""[..]), &thing("knows its position"));
        batch.fact(fact("p"));
        Ok(batch)
    });
    let position = built.expect("the batch is taken").await.expect("the batch is applied");
    assert_eq!(position, 5);
    assert!(store.get::<Things>("p", (5, &b""[..])).await.expect("read").is_some());

    let gave_up = store.submit_with::<CommitError>(|_| Err(CommitError::Condition));
    assert!(gave_up.is_err());
    assert_eq!(commit_facts(&store, 1).await, 6, "a batch that was not built uses up nothing");
}

pub async fn a_follower_sees_each_fact_once(config: Config) {
    let store = open(&config);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16_usize {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..40 {
                commit_facts(&store, 1 + (writer + round) % 3).await;
            }
        });
    }
    let mut followers = tokio::task::JoinSet::new();
    let total: u64 = (0..16).flat_map(|w| (0..40).map(move |r| 1 + (w + r) % 3)).sum();
    for _ in 0..4 {
        let mut follower = store.follow(0);
        followers.spawn(async move { read_to(&mut follower, total).await });
    }
    writers.join_all().await;
    let everything = store.facts(0, total, usize::MAX).await.expect("the log is read");
    assert_eq!(positions(&everything), (1..=total).collect::<Vec<_>>());
    for seen in followers.join_all().await {
        assert!(seen == everything, "{:?}", positions(&seen));
    }
}

/// More groups than the channel holds go by while the follower sleeps.
pub async fn a_slow_follower_misses_nothing(config: Config) {
    let store = open(&config);
    let mut follower = store.follow(0);
    commit_facts(&store, 1).await;
    assert_eq!(positions(&read_to(&mut follower, 1).await), [1]);
    // It has caught up with the disk now, and relies on the channel.
    let next = tokio::time::timeout(Duration::from_millis(20), follower.next());
    assert!(next.await.is_err(), "there is nothing more, and waiting may be cancelled");

    let last = flood(&store).await;
    let seen = read_to(&mut follower, last).await;
    assert_eq!(positions(&seen), (2..=last).collect::<Vec<_>>());
    let next = commit_facts(&store, 1).await;
    assert_eq!(positions(&read_to(&mut follower, next).await), [next]);
}

/// Overflows the channel without a flush per message: the log itself is made to speak.
async fn flood(store: &Store) -> Position {
    let last = commit_facts(store, 2000).await + 1999;
    let facts = store.facts(1, last, usize::MAX).await.expect("the log is read");
    for chunk in facts.iter().cycle().take(5000) {
        // What was published before is published again: a follower must not return it twice.
        store.log().publish(last, vec![chunk.clone()]);
    }
    last
}

pub async fn a_follower_starts_anywhere(config: Config) {
    let store = open(&config);
    commit_facts(&store, 10).await;
    let mut follower = store.follow(7);
    assert_eq!(positions(&read_to(&mut follower, 10).await), [8, 9, 10]);
    let mut at_end = store.follow(10);
    commit_facts(&store, 2).await;
    assert_eq!(positions(&read_to(&mut at_end, 12).await), [11, 12]);
    assert_eq!(positions(&read_to(&mut follower, 12).await), [11, 12]);
}

pub async fn followers_end_with_the_store(config: Config) {
    let store = open(&config);
    let mut follower = store.follow(0);
    commit_facts(&store, 3).await;
    store.close();
    assert_eq!(read_to(&mut follower, 3).await.len(), 3);
    assert!(follower.next().await.expect("the log is read").is_none());
    let mut late = store.follow(1);
    assert_eq!(positions(&read_to(&mut late, 3).await), [2, 3]);
    assert!(late.next().await.expect("the log is read").is_none());
}

/// Whenever a position is shown, everything up to it is readable.
pub async fn nothing_is_shown_before_it_is_durable(config: Config) {
    let store = open(&config);
    let writer = {
        let store = store.clone();
        async move {
            for _ in 0..100 {
                let pending = store.submit_with::<CommitError>(|position| {
                    let mut batch = Batch::new();
                    batch.put::<Things>("p", (position, &b""[..]), &thing("v"));
                    batch.fact(fact("p"));
                    Ok(batch)
                });
                pending.expect("the batch is taken").await.expect("the batch is applied");
            }
        }
    };
    let reader = {
        let store = store.clone();
        async move {
            while store.log().position() < 100 {
                let position = store.log().position();
                if position > 0 {
                    let row = store.get::<Things>("p", (position, &b""[..])).await;
                    assert!(row.expect("read").is_some(), "row {position} is shown");
                }
                tokio::task::yield_now().await;
            }
        }
    };
    let mut both = tokio::task::JoinSet::new();
    both.spawn(writer);
    both.spawn(reader);
    both.join_all().await;
}
