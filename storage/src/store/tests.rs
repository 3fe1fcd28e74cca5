//! The store over an engine that breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{CommitError, Store};
use crate::{
    batch::Batch,
    conformance::{Heads, Thing},
    engine::{Engine, EngineError, EngineSnapshot, KeyRange, Write, memory::Memory},
    log::Fact,
    open,
};

/// Works until its writes are used up. The write that fails leaves nothing.
struct Breaking {
    inside: Memory,
    writes_left: AtomicUsize,
    panics: bool,
}

impl Engine for Breaking {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inside.get(table, key)
    }

    fn scan(
        &self,
        table: &str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.inside.scan(table, range, reverse, limit)
    }

    fn apply(&self, writes: Vec<Write<'_>>) -> Result<(), EngineError> {
        let order = Ordering::SeqCst;
        if self.writes_left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok() {
            return self.inside.apply(writes);
        }
        assert!(!self.panics, "the engine gives up");
        Err(EngineError("input/output error".to_owned()))
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        self.inside.snapshot()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn breaking(writes: usize, panics: bool) -> Store {
    let inside = Memory::default();
    let engine = Breaking { inside, writes_left: AtomicUsize::new(writes), panics };
    Store::start(open::over(Arc::new(engine), 0, 1)).expect("a thread for the writer")
}

fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put::<Heads>(&format!("{number}"), (), &Thing { text: String::new() });
    batch.fact(Fact { stream: 250, subject: "p".into(), payload: Bytes::new() });
    batch
}

/// Nobody may wait for ever.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it ends")
}

async fn everybody_is_told(store: Store) {
    soon(store.commit(numbered(0))).await.expect("the first write works");
    let mut follower = store.follow(1);
    let submitted: Vec<_> = (1..100).map(|number| store.submit(numbered(number))).collect();
    let barrier = store.barrier();
    for submitted in submitted {
        let outcome = match submitted {
            Ok(pending) => soon(pending).await,
            Err(error) => Err(error),
        };
        assert!(matches!(outcome, Err(CommitError::Failed(_))), "{outcome:?}");
    }
    assert!(soon(barrier.wait()).await.is_err());
    assert!(!soon(store.failed()).await.is_empty());
    assert!(matches!(soon(store.commit(numbered(100))).await, Err(CommitError::Failed(_))));

    assert_eq!(store.log().position(), 1, "what failed is not shown");
    assert!(soon(follower.next()).await.expect("the log is read").is_none());
    assert!(store.get::<Heads>("0", ()).await.expect("reads go on").is_some());
    for number in 1..=100 {
        let row = store.get::<Heads>(&format!("{number}"), ()).await;
        assert!(row.expect("reads go on").is_none());
    }
}

#[tokio::test]
async fn a_failed_write_is_told_to_everybody() {
    everybody_is_told(breaking(1, false)).await;
}

#[tokio::test]
async fn a_panic_of_the_engine_is_told_to_everybody() {
    everybody_is_told(breaking(1, true)).await;
}

#[tokio::test]
async fn a_store_ends_with_its_last_handle() {
    let engine = Arc::new(Memory::default());
    let store = Store::start(open::over(Arc::clone(&engine) as _, 0, 1)).expect("a thread");
    let clone = store.clone();
    drop(store);
    soon(clone.commit(numbered(1))).await.expect("there is still a handle");
    drop(clone);
    assert_eq!(Arc::strong_count(&engine), 1, "the writer has let go of it");
}
