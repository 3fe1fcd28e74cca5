//! The guard on a disk that fills up and empties by the test's hand.

use std::{
    io,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{CHECK_EVERY_MS, Disk, DiskGuard, Space};
use crate::{
    batch::Batch,
    conformance::{Heads, Thing},
    engine::{EngineKind, memory::Memory},
    log::Fact,
    open::{self, Opened},
    store::{CommitError, Config, DEFAULT_LOW_WATER_BYTES, Store},
};

#[derive(Clone)]
struct Fake(Arc<FakeState>);

struct FakeState {
    free: AtomicU64,
    total: u64,
    now_ms: AtomicU64,
    looks: AtomicU64,
}

impl Fake {
    fn new(free: u64, total: u64) -> Self {
        let (now_ms, looks) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(FakeState { free: AtomicU64::new(free), total, now_ms, looks }))
    }

    fn set_free(&self, free: u64) {
        self.0.free.store(free, Ordering::SeqCst);
    }

    fn pass_ms(&self, ms: u64) {
        self.0.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Disk for Fake {
    fn space(&self) -> io::Result<Space> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        Ok(Space { free: self.0.free.load(Ordering::SeqCst), total: self.0.total })
    }

    fn elapsed_ms(&self) -> u64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }
}

const MIB: u64 = 1 << 20;

fn config(path: &std::path::Path, low_water_bytes: u64) -> Config {
    let config = Config::at(EngineKind::Fjall, path.to_owned());
    Config { ballast_bytes: 2 * MIB, low_water_bytes, ..config }
}

#[test]
fn writes_are_refused_below_the_mark_and_resume_above_it() {
    let disk = Fake::new(100 * MIB, 1000 * MIB);
    let guard = DiskGuard::over(Box::new(disk.clone()), &config("nowhere".as_ref(), 50 * MIB));
    assert!(!guard.is_low());

    disk.set_free(49 * MIB);
    disk.pass_ms(CHECK_EVERY_MS);
    assert!(guard.is_low());

    disk.set_free(51 * MIB);
    disk.pass_ms(CHECK_EVERY_MS);
    assert!(!guard.is_low());
}

#[test]
fn the_disk_is_not_asked_for_every_write() {
    let disk = Fake::new(100 * MIB, 1000 * MIB);
    let guard = DiskGuard::over(Box::new(disk.clone()), &config("nowhere".as_ref(), 50 * MIB));
    for _ in 0..1000 {
        guard.is_low();
    }
    assert_eq!(disk.0.looks.load(Ordering::SeqCst), 1);
}

#[test]
fn a_mark_of_zero_switches_the_guard_off() {
    let disk = Fake::new(0, 1000 * MIB);
    let guard = DiskGuard::over(Box::new(disk), &config("nowhere".as_ref(), 0));
    assert!(!guard.is_low());
}

#[test]
fn the_default_mark_leaves_a_small_disk_usable() {
    let small = Fake::new(60 * MIB, 1000 * MIB);
    let config = config("nowhere".as_ref(), DEFAULT_LOW_WATER_BYTES);
    let guard = DiskGuard::over(Box::new(small.clone()), &config);
    assert!(!guard.is_low(), "5 % of the disk are 50 MiB");
    small.set_free(40 * MIB);
    small.pass_ms(CHECK_EVERY_MS);
    assert!(guard.is_low());
}

#[test]
fn the_ballast_takes_up_space_and_is_given_up_on_a_full_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Fake::new(100 * MIB, 1000 * MIB);
    let guard = DiskGuard::over(Box::new(disk.clone()), &config(directory.path(), MIB));
    let ballast = directory.path().join("ballast");

    guard.take_ballast();
    let found = std::fs::metadata(&ballast).expect("the ballast is there");
    assert!(found.blocks() * 512 >= 2 * MIB, "it is really allocated");

    assert!(!guard.sacrifice_ballast(), "there is space");
    assert!(ballast.exists());
    disk.set_free(0);
    assert!(guard.sacrifice_ballast());
    assert!(!ballast.exists());
    assert!(!guard.sacrifice_ballast(), "there is only one");

    guard.take_ballast();
    assert!(!ballast.exists(), "it does not take the last space");
}

fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put::<Heads>(&format!("{number}"), (), &Thing { text: String::new() });
    batch.fact(Fact { stream: 250, subject: "p".into(), payload: bytes::Bytes::new() });
    batch
}

#[tokio::test]
async fn a_store_on_a_full_disk_reads_prunes_and_recovers() {
    let place = tempfile::tempdir().expect("a directory");
    let disk = Fake::new(100 * MIB, 1000 * MIB);
    let config = Config { ballast_bytes: 0, ..config(place.path(), 50 * MIB) };
    let guard = DiskGuard::over(Box::new(disk.clone()), &config);
    let over = open::over(Arc::new(Memory::default()), 0, 1);
    let store = Store::start(Opened { disk: guard, ..over }).expect("a thread for the writer");
    store.commit(numbered(1)).await.expect("there is space");

    disk.set_free(MIB);
    disk.pass_ms(CHECK_EVERY_MS);
    let refused = store.commit(numbered(2)).await;
    assert!(matches!(refused, Err(CommitError::LowSpace)), "{refused:?}");
    assert!(store.is_low_on_space());
    assert!(store.get::<Heads>("1", ()).await.expect("reads go on").is_some());
    assert!(store.get::<Heads>("2", ()).await.expect("reads go on").is_none());
    store.prune_log(u64::MAX).await.expect("what frees space is let through");
    assert!(store.facts(0, 10, 10).await.expect("reads go on").is_empty());

    disk.set_free(100 * MIB);
    disk.pass_ms(CHECK_EVERY_MS);
    let position = store.commit(numbered(2)).await.expect("writes resume");
    assert_eq!(position, 2, "the refused batch used up no position");
}
