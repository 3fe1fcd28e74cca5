//! What a commit costs: 64 writers at a time, six rows and a fact each, acknowledged when durable.
//!
//! `cargo bench -p storage`. Criterion reports time; the CPU behind it (of all threads, the writers'
//! and the engine's) is printed for each engine at its end.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::{Batch, Config, EngineKind, Fact, Store, Table};

const WRITERS: u64 = 64;

struct Events;

impl Table for Events {
    const NAME: &'static str = "events";
    type Partition = String;
    type Sort = u64;
    type Value = Bytes;
}

struct Heads;

impl Table for Heads {
    const NAME: &'static str = "heads";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = Bytes;
}

/// The rows of a message: event, by id, topological index, head, transaction, index of a relation.
fn message(room: &str, number: u64, event: &Bytes, small: &Bytes) -> Batch {
    let mut batch = Batch::new();
    batch.put::<Events>(room, number, event);
    batch.derive_put::<Events>(&format!("$event{number:043}"), 0, small);
    batch.put::<Events>(&format!("depth {room}"), number, small);
    batch.put::<Heads>(room, (), small);
    batch.put::<Events>(&format!("transaction {room} @user:example.org"), number, small);
    batch.derive_put::<Events>(&format!("relation {room}"), number, small);
    let subject = room.into();
    batch.fact(Fact { stream: 1, subject, payload: small.clone() });
    batch
}

async fn write(store: &Store, commits: u64, from: u64) {
    let (event, small) = (Bytes::from(vec![7; 700]), Bytes::from(vec![7; 60]));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, event, small) = (store.clone(), event.clone(), small.clone());
        writers.spawn(async move {
            let room = format!("!room{writer}:example.org");
            let mine = (from..from + commits).filter(|number| number % WRITERS == writer);
            for number in mine {
                let batch = message(&room, number, &event, &small);
                black_box(store.commit(batch).await.expect("the batch is applied"));
            }
        });
    }
    writers.join_all().await;
}

fn config(engine: EngineKind, path: &Path) -> Config {
    Config { low_water_bytes: 0, ..Config::at(engine, path.to_owned()) }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// CPU that this process has used, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    // User and system time are the 14th and 15th field; the name is the second.
    let times = after_name.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn commits(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let mut group = criterion.benchmark_group("commit_64_writers");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.measurement_time(Duration::from_secs(5));
    for engine in [EngineKind::Memory, EngineKind::Fjall, EngineKind::Sled] {
        let place = tempfile::tempdir().expect("a directory");
        let store = Store::open(&config(engine, place.path()), 1).expect("an empty place");
        let (mut next, mut ticks) = (0, 0);
        group.bench_function(engine.name(), |bencher| {
            bencher.iter_custom(|commits| {
                let from = next;
                next += commits;
                let before = cpu_ticks();
                let time = timed(|| runtime.block_on(write(&store, commits, from)));
                ticks += cpu_ticks() - before;
                time
            });
        });
        let cpu_us = ticks as f64 * 10_000.0 / next.max(1) as f64;
        eprintln!("{engine}: {cpu_us:.1} µs of CPU per commit, {next} commits");
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
