//! A killed process loses nothing that it acknowledged, and leaves no half batch.
//!
//! The test starts itself as a child that writes and reports each acknowledgement, and kills it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use storage::{Batch, Config, EngineKind, Fact, Range, Store, Table};

const ROUNDS: usize = 5;
const WRITERS: u64 = 16;
/// Acknowledgements before the child is killed; varies with the round.
const ACKNOWLEDGED: usize = 400;

/// Home rows: by writer and number.
struct Numbers;

impl Table for Numbers {
    const NAME: &'static str = "numbers";
    type Partition = u64;
    type Sort = u64;
    type Value = bytes::Bytes;
}

/// Derived rows, in another partition: by number and writer.
struct Mirror;

impl Table for Mirror {
    const NAME: &'static str = "mirror";
    type Partition = u64;
    type Sort = u64;
    type Value = ();
}

fn config(engine: EngineKind, path: &Path) -> Config {
    Config { ballast_bytes: 0, low_water_bytes: 0, ..Config::at(engine, path.to_owned()) }
}

fn batch(writer: u64, number: u64) -> Batch {
    let mut batch = Batch::new();
    // Some values are long enough to be cut.
    let length = if number % 50 == 7 { 70_000 } else { 300 };
    batch.put::<Numbers>(writer, number, &vec![number as u8; length].into());
    batch.derive_put::<Mirror>(number, writer, &());
    let subject = format!("{writer} {number}").into();
    batch.fact(Fact { stream: 250, subject, payload: bytes::Bytes::new() });
    batch
}

async fn next_numbers(store: &Store) -> HashMap<u64, u64> {
    let mut next = HashMap::new();
    for writer in 0..WRITERS {
        let last = Range::all().reversed().limit(1);
        let rows = store.scan::<Numbers>(writer, last).await.expect("the rows are read");
        next.insert(writer, rows.first().map_or(0, |row| row.sort + 1));
    }
    next
}

#[tokio::test]
#[ignore = "the child of the tests below: it is told on its standard input what to do"]
async fn child() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the parent speaks");
    let Some((engine, path)) = line.trim_end().split_once(' ') else { return };
    let kinds = [EngineKind::Fjall, EngineKind::Sled];
    let engine = kinds.into_iter().find(|kind| kind.name() == engine).expect("a known engine");
    let store = Store::open(&config(engine, path.as_ref()), 1).expect("the store is opened");
    let next = next_numbers(&store).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, first) = (store.clone(), next[&writer]);
        writers.spawn(async move {
            for number in first.. {
                store.commit(batch(writer, number)).await.expect("the batch is applied");
                let line = format!("acknowledged {writer} {number}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent listens");
            }
        });
    }
    writers.join_all().await;
}

/// Lets a child write until it has acknowledged so much, kills it, and returns what it
/// acknowledged last, by writer.
fn write_and_kill(engine: EngineKind, path: &Path, acknowledgements: usize) -> HashMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test is a program"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "{engine} {}", path.display()).expect("the child listens");
    let mut acknowledged = HashMap::new();
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("whole lines");
        let words: Vec<_> = line.split(' ').collect();
        let ["acknowledged", writer, number] = words[..] else { continue };
        // What the kill cut off was not heard.
        if let (Ok(writer), Ok(number)) = (writer.parse(), number.parse()) {
            acknowledged.insert(writer, number);
        }
        heard += 1;
        if heard == acknowledgements {
            child.kill().expect("the child is ours");
        }
    }
    child.wait().expect("the child has ended");
    assert!(heard >= acknowledgements, "the child ended by itself after {heard}");
    acknowledged
}

async fn check(store: &Store, acknowledged: &HashMap<u64, u64>) {
    let mut total = 0;
    for writer in 0..WRITERS {
        let rows = store.scan::<Numbers>(writer, Range::all()).await.expect("the rows are read");
        let numbers: Vec<_> = rows.iter().map(|row| row.sort).collect();
        let count = numbers.len() as u64;
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "writer {writer} has no gap");
        if let Some(last) = acknowledged.get(&writer) {
            assert!(count > *last, "writer {writer}: {last} was acknowledged, {count} are there");
        }
        for row in &rows {
            assert!(row.value.iter().all(|byte| *byte == row.sort as u8));
            let mirrored = store.get::<Mirror>(row.sort, writer).await.expect("read");
            assert!(mirrored.is_some(), "batch {} of writer {writer} is half there", row.sort);
        }
        total += count;
    }
    let facts = store.facts(0, u64::MAX - 1, usize::MAX).await.expect("the log is read");
    let positions: Vec<_> = facts.iter().map(|fact| fact.position).collect();
    assert_eq!(positions, (1..=total).collect::<Vec<_>>(), "one fact for each batch");
    assert_eq!(store.log().position(), total);
}

async fn survives(engine: EngineKind) {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("store");
    for round in 1..=ROUNDS {
        let acknowledged = write_and_kill(engine, &path, round * ACKNOWLEDGED);
        let store = Store::open(&config(engine, &path), 2).expect("the store recovers");
        assert_eq!(store.incarnation(), 1);
        check(&store, &acknowledged).await;
    }
}

#[tokio::test]
async fn fjall_survives_kills() {
    survives(EngineKind::Fjall).await;
}

#[tokio::test]
async fn sled_survives_kills() {
    survives(EngineKind::Sled).await;
}
