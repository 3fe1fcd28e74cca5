//! Batches: atomicity, conditions, what is seen when.

use super::{Heads, Things, fact, open, put, thing};
use crate::{
    batch::Batch,
    store::{CommitError, Config, Store},
    table::Range,
};

async fn head(store: &Store, partition: &str) -> Option<String> {
    let found = store.get::<Heads>(partition, ()).await.expect("the row is read");
    found.map(|value| value.text)
}

pub async fn a_batch_is_applied_whole(config: Config) {
    let store = open(&config);
    let mut batch = Batch::new();
    batch.put::<Heads>("p", (), &thing("head"));
    batch.derive_put::<Things>("elsewhere", (1, &b""[..]), &thing("derived"));
    batch.fact(fact("p"));
    let position = store.commit(batch).await.expect("the batch is applied");

    assert_eq!(head(&store, "p").await.as_deref(), Some("head"));
    let derived = store.get::<Things>("elsewhere", (1, &b""[..])).await.expect("read");
    assert_eq!(derived, Some(thing("derived")));
    let facts = store.facts(0, store.log().position(), 10).await.expect("read");
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].position, &facts[0].fact), (position, &fact("p")));
}

/// Within one batch, and between batches that share a flush.
pub async fn the_last_write_of_a_row_wins(config: Config) {
    let store = open(&config);
    let key = |number: u64| (number, &b""[..]);
    let mut batch = Batch::new();
    batch.put::<Things>("p", key(1), &thing("old")).put::<Things>("p", key(1), &thing("new"));
    batch.put::<Things>("p", key(2), &thing("old")).delete::<Things>("p", key(2));
    batch.delete::<Things>("p", key(3)).put::<Things>("p", key(3), &thing("new"));
    store.commit(batch).await.expect("the batch is applied");

    let pending: Vec<_> = (0..200)
        .map(|number| {
            let mut batch = Batch::new();
            batch.put::<Heads>("p", (), &thing(format!("{number}")));
            if number % 2 == 0 {
                batch.delete::<Heads>("p", ());
            }
            store.submit(batch).expect("the batch is taken")
        })
        .collect();
    for pending in pending {
        pending.await.expect("the batch is applied");
    }
    let rows = store.scan::<Things>("p", Range::all()).await.expect("read");
    let found: Vec<_> = rows.iter().map(|row| (row.sort.0, row.value.text.as_str())).collect();
    assert_eq!(found, [(1, "new"), (3, "new")]);
    assert_eq!(head(&store, "p").await.as_deref(), Some("199"));
}

pub async fn a_batch_whose_condition_fails_leaves_nothing(config: Config) {
    let store = open(&config);
    put(&store, "p", (1, b""), "there").await;
    let mut batch = Batch::new();
    batch.if_absent::<Things>("p", (1, &b""[..]));
    batch.put::<Heads>("p", (), &thing("no"));
    batch.derive_put::<Things>("q", (1, &b""[..]), &thing("no"));
    batch.fact(fact("p"));
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::Condition)), "{refused:?}");

    assert_eq!(head(&store, "p").await, None);
    assert_eq!(store.get_latest::<Heads>("p", ()).await.expect("read"), None);
    assert_eq!(store.get::<Things>("q", (1, &b""[..])).await.expect("read"), None);
    assert!(store.facts(0, u64::MAX - 1, 10).await.expect("read").is_empty());
}

pub async fn one_of_many_wins(config: Config) {
    let store = open(&config);
    let claim = |number: u32| {
        let store = store.clone();
        async move {
            let mut batch = Batch::new();
            batch.if_absent::<Heads>("claim", ());
            batch.put::<Heads>("claim", (), &thing(format!("{number}")));
            store.commit(batch).await.map(|_| number)
        }
    };
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..64 {
        claims.spawn(claim(number));
    }
    let outcomes = claims.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(head(&store, "claim").await, Some(winners[0].to_string()));
    let lost = |outcome: &&Result<u32, CommitError>| matches!(outcome, Err(CommitError::Condition));
    assert_eq!(outcomes.iter().filter(lost).count(), 63);
}

/// Each step names the value that the step before leaves; none of them waits.
pub async fn conditions_see_earlier_batches(config: Config) {
    let store = open(&config);
    let mut first = Batch::new();
    first.if_absent::<Heads>("chain", ()).put::<Heads>("chain", (), &thing("0"));
    let mut pending = vec![store.submit(first).expect("the batch is taken")];
    for number in 1..100 {
        let mut batch = Batch::new();
        batch.if_equal::<Heads>("chain", (), &thing(format!("{}", number - 1)));
        batch.put::<Heads>("chain", (), &thing(format!("{number}")));
        pending.push(store.submit(batch).expect("the batch is taken"));
    }
    let mut stale = Batch::new();
    stale.if_equal::<Heads>("chain", (), &thing("42")).delete::<Heads>("chain", ());
    let stale = store.submit(stale).expect("the batch is taken");
    for pending in pending {
        pending.await.expect("every step holds");
    }
    assert!(matches!(stale.await, Err(CommitError::Condition)));
    assert_eq!(head(&store, "chain").await.as_deref(), Some("99"));
}

pub async fn the_latest_row_is_seen_before_its_flush(config: Config) {
    let store = open(&config);
    let latest = async || store.get_latest::<Heads>("p", ()).await.expect("read");
    let submit = |text: &str| {
        let mut batch = Batch::new();
        batch.put::<Heads>("p", (), &thing(text));
        store.submit(batch).expect("the batch is taken")
    };
    let first = submit("first");
    assert_eq!(latest().await, Some(thing("first")));
    let second = submit("second");
    assert_eq!(latest().await, Some(thing("second")));
    first.await.expect("the batch is applied");
    assert_eq!(latest().await, Some(thing("second")), "whatever the first flush did");
    second.await.expect("the batch is applied");
    assert_eq!(latest().await, Some(thing("second")));

    let mut batch = Batch::new();
    batch.delete::<Heads>("p", ());
    let deleted = store.submit(batch).expect("the batch is taken");
    assert_eq!(latest().await, None);
    deleted.await.expect("the batch is applied");
    assert_eq!(latest().await, None);
}

pub async fn a_barrier_waits_for_what_was_submitted(config: Config) {
    let store = open(&config);
    store.barrier().wait().await.expect("with nothing submitted it is passed");
    for number in 0..50 {
        let mut batch = Batch::new();
        batch.put::<Heads>("p", (), &thing(format!("{number}")));
        let _not_awaited = store.submit(batch).expect("the batch is taken");
        store.barrier().wait().await.expect("the barrier is passed");
        assert_eq!(head(&store, "p").await, Some(format!("{number}")));
    }
}

pub async fn a_snapshot_does_not_change(config: Config) {
    let store = open(&config);
    for number in 0..600 {
        let mut batch = Batch::new();
        batch.put::<Things>("p", (number * 2, &b""[..]), &thing("before"));
        let _pending = store.submit(batch).expect("the batch is taken");
    }
    put(&store, "p", (1200, b""), &"large before".repeat(10_000)).await;
    let snapshot = store.snapshot().expect("a snapshot");

    let mut batch = Batch::new();
    for number in 0..300 {
        batch.put::<Things>("p", (number * 2 + 1, &b""[..]), &thing("after"));
        batch.put::<Things>("p", (number * 4, &b""[..]), &thing("after"));
        batch.delete::<Things>("p", (number * 4 + 2, &b""[..]));
    }
    batch.put::<Things>("p", (1200, &b""[..]), &thing("after"));
    batch.put::<Heads>("new table", (), &thing("after"));
    store.commit(batch).await.expect("the batch is applied");

    let (mut rows, mut after, mut last) = (0, 0, Vec::new());
    let mut each = |key: &[u8], value: &[u8]| {
        assert!(last.as_slice() < key, "in key order");
        last = key.to_vec();
        rows += 1;
        after += usize::from(value.ends_with(b"after"));
        true
    };
    snapshot.for_each("conformance_things", &mut each).expect("the snapshot is read");
    assert_eq!((rows, after), (601, 0));
    assert_eq!(snapshot.tables().expect("read"), ["conformance_things"]);

    let mut stopped = 0;
    let mut each = |_: &[u8], _: &[u8]| {
        stopped += 1;
        stopped < 5
    };
    snapshot.for_each("conformance_things", &mut each).expect("the snapshot is read");
    assert_eq!(stopped, 5, "the reader may stop");
}

pub async fn a_closed_store_refuses_writes_and_reads_on(config: Config) {
    let store = open(&config);
    let mut batch = Batch::new();
    batch.put::<Heads>("p", (), &thing("before"));
    let pending = store.submit(batch).expect("the batch is taken");
    store.close();
    pending.await.expect("what was submitted before is applied");
    let refused = store.commit(Batch::new()).await;
    assert!(matches!(refused, Err(CommitError::Failed(_))), "{refused:?}");
    assert_eq!(head(&store, "p").await.as_deref(), Some("before"));
    store.close();
}
