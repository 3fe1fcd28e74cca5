//! What outlives a process: reopening, refusals, dumps.

use std::path::{Path, PathBuf};

use super::{Heads, Things, fact, open, put, thing};
use crate::{
    batch::Batch,
    dump::{self, Attachment, DumpError, Progress},
    engine::EngineKind,
    log::Position,
    store::{CommitError, Config, OpenError, Store},
    table::Range,
};

/// Three tables' worth of rows, one of them large.
async fn fill(store: &Store) {
    for number in 0..300 {
        let mut batch = Batch::new();
        batch.put::<Things>("p", (number, &b"k"[..]), &thing(format!("value {number}")));
        batch.put::<Heads>("p", (), &thing(format!("{number}")));
        batch.fact(fact("p"));
        let _pending = store.submit(batch).expect("the batch is taken");
    }
    put(store, "large", (0, b""), &"large ".repeat(200_000)).await;
}

/// All rows of all tables.
fn contents(store: &Store) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let snapshot = store.snapshot().expect("a snapshot");
    let mut rows = Vec::new();
    for table in snapshot.tables().expect("the tables are listed") {
        let mut each = |key: &[u8], value: &[u8]| {
            rows.push((table.clone(), key.to_vec(), value.to_vec()));
            true
        };
        snapshot.for_each(&table, &mut each).expect("the table is read");
    }
    rows
}

async fn commit_fact(store: &Store) -> Position {
    let mut batch = Batch::new();
    batch.fact(fact("p"));
    store.commit(batch).await.expect("the batch is applied")
}

fn mark(config: &Config) -> PathBuf {
    config.path.join("meridian-store")
}

fn beside(config: &Config, name: &str) -> PathBuf {
    config.path.parent().expect("the place is in a directory").join(name)
}

pub async fn everything_is_there_after_reopening(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let before = contents(&store);
    let position = store.log().position();
    assert_eq!(before.len(), 300 + 1 + 300 + 1);
    drop(store);

    for round in 0..3 {
        let store = Store::open(&config, 99).expect("the store is opened again");
        assert!(contents(&store) == before, "round {round}");
        assert_eq!(store.log().position(), position);
        assert_eq!(store.incarnation(), 1, "as given when it was new");
        assert!(store.previous_incarnations().is_empty());
        store.close();
    }
}

pub async fn a_position_is_never_given_out_twice(config: Config) {
    let store = open(&config);
    commit_fact(&store).await;
    put(&store, "p", (1, b""), "there").await;
    let mut refused = Batch::new();
    refused.if_absent::<Things>("p", (1, &b""[..])).fact(fact("p")).fact(fact("p"));
    let refused = store.commit(refused).await;
    assert!(matches!(refused, Err(CommitError::Condition)), "{refused:?}");
    let shown = store.log().position();
    drop(store);

    let store = open(&config);
    assert_eq!(store.log().position(), shown, "a token may hold it");
    assert!(commit_fact(&store).await > shown);
}

pub async fn a_pruned_log_keeps_its_position(config: Config) {
    let store = open(&config);
    for _ in 0..25 {
        commit_fact(&store).await;
    }
    store.prune_log(11).await.expect("the log is pruned");
    let left = store.facts(0, u64::MAX - 1, 100).await.expect("the log is read");
    assert_eq!(
        left.iter().map(|fact| fact.position).collect::<Vec<_>>(),
        (11..=25).collect::<Vec<_>>()
    );

    store.prune_log(u64::MAX).await.expect("the log is pruned");
    assert!(store.facts(0, u64::MAX - 1, 100).await.expect("the log is read").is_empty());
    assert_eq!(store.log().position(), 25);
    drop(store);

    let store = open(&config);
    assert_eq!(store.log().position(), 25);
    assert_eq!(commit_fact(&store).await, 26);
    drop(store);
    assert_eq!(open(&config).log().position(), 26);
}

pub async fn a_directory_in_use_is_refused(config: Config) {
    let store = open(&config);
    let second = Store::open(&config, 1);
    assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
    put(&store, "p", (1, b""), "the first is not disturbed").await;
    let clone = store.clone();
    drop(store);
    assert!(Store::open(&config, 1).is_err(), "there is still a handle");
    drop(clone);
    open(&config);
}

pub async fn an_unknown_schema_is_refused(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let before = contents(&store);
    drop(store);

    let written = std::fs::read_to_string(mark(&config)).expect("the file is there");
    let future = written.replace("schema = 1", "schema = 1000");
    assert_ne!(written, future);
    std::fs::write(mark(&config), future).expect("the file can be changed");
    let refused = Store::open(&config, 1);
    assert!(matches!(refused, Err(OpenError::UnknownSchema { found: 1000, .. })), "{refused:?}");

    std::fs::write(mark(&config), "nonsense").expect("the file can be changed");
    assert!(Store::open(&config, 1).is_err());
    std::fs::write(mark(&config), written).expect("the file can be changed");
    assert!(contents(&open(&config)) == before, "the data is untouched");
}

pub async fn another_engine_is_refused(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let before = contents(&store);
    drop(store);
    let engine = match config.engine {
        EngineKind::Sled => EngineKind::Fjall,
        _ => EngineKind::Sled,
    };
    let refused = Store::open(&Config { engine, ..config.clone() }, 1);
    assert!(matches!(refused, Err(OpenError::OtherEngine { .. })), "{refused:?}");
    assert!(!config.path.join(engine.name()).exists(), "nothing was created");
    assert!(contents(&open(&config)) == before, "the data is untouched");
}

/// A store that lost its data, or half of what makes it one, must not pass as an empty one.
pub async fn missing_data_is_noticed(config: Config) {
    let store = open(&config);
    fill(&store).await;
    drop(store);
    let (data, hidden) = (config.path.join(config.engine.name()), beside(&config, "hidden"));

    std::fs::rename(&data, &hidden).expect("the data can be moved");
    assert!(Store::open(&config, 1).is_err(), "without its data");
    std::fs::rename(&hidden, &data).expect("the data can be moved");
    std::fs::rename(mark(&config), &hidden).expect("the file can be moved");
    assert!(Store::open(&config, 1).is_err(), "without the file that describes it");
    std::fs::rename(&hidden, mark(&config)).expect("the file can be moved");
    assert_eq!(open(&config).log().position(), 300);
}

/// Files full of something else must be an error that names the place: neither a panic nor a store
/// that looks empty.
pub async fn destroyed_files_are_an_error(config: Config) {
    let store = open(&config);
    fill(&store).await;
    drop(store);
    let (data, mut files) = (config.path.join(config.engine.name()), Vec::new());
    collect_files(&data, &mut files);
    let largest = files.iter().max_by_key(|(_, content)| content.len()).cloned();
    for destroyed in [files, largest.into_iter().collect()] {
        for (path, content) in &destroyed {
            let length = content.len().min(1 << 20);
            std::fs::write(path, vec![0xA5; length]).expect("it can be overwritten");
        }
        match Store::open(&config, 1) {
            Err(OpenError::Engine(error)) => {
                let text = error.to_string();
                assert!(text.contains(&config.path.display().to_string()), "{text}");
            }
            outcome => panic!("{outcome:?}"),
        }
        for (path, content) in &destroyed {
            std::fs::write(path, content).expect("it can be overwritten");
        }
    }
}

fn collect_files(directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() {
            collect_files(&entry.path(), files);
        } else {
            files.push((entry.path(), std::fs::read(entry.path()).expect("it can be read")));
        }
    }
}

/// Through a dump, into every engine that has a directory.
pub async fn a_moved_store_is_the_same(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let before = contents(&store);
    let file = beside(&config, "dump");
    let mut reports = Vec::new();
    let written = dump::dump(&store, &file, &mut |progress| reports.push(progress.clone()));
    let written = written.expect("the dump is written");
    assert_eq!(reports.last(), Some(&written));
    assert_eq!((written.rows, written.tables), (602, 3));
    drop(store);

    for engine in [EngineKind::Fjall, EngineKind::Sled] {
        let path = beside(&config, engine.name());
        let target = Config { engine, path, ..config.clone() };
        let restored = dump::restore(&file, &target, 2, &mut |_| {}).expect("it is restored");
        assert_eq!(restored, written);
        let store = Store::open(&target, 99).expect("it is a store");
        assert!(contents(&store) == before, "{engine}");
        assert_eq!((store.incarnation(), store.previous_incarnations()), (2, &[1][..]));
        assert_eq!(commit_fact(&store).await, 301);
        assert_eq!(store.get::<Heads>("p", ()).await.expect("read"), Some(thing("299")));
    }
}

/// Contents of every awkward length, with their names below a directory.
fn some_files(directory: &Path) -> Vec<Attachment> {
    let lengths = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1];
    let file = |(number, length): (usize, usize)| {
        let path = directory.join(format!("source-{number}"));
        let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, content).expect("a file is written");
        Attachment { name: format!("{number}/file"), path }
    };
    lengths.into_iter().enumerate().map(file).collect()
}

pub async fn files_move_with_their_store(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let file = beside(&config, "dump");
    let sources = beside(&config, "sources");
    std::fs::create_dir(&sources).expect("a directory");
    let files = some_files(&sources);
    let written = dump::dump_with_files(&store, &file, &mut || Ok(files.clone()), &mut |_| {});
    let written = written.expect("the dump is written");
    assert_eq!((written.rows, written.files), (602, 5));
    assert_eq!(dump::check(&file, &mut |_| {}).expect("it is whole"), written);

    let (target, place) =
        (Config { path: beside(&config, "target"), ..config.clone() }, beside(&config, "files"));
    std::fs::create_dir(&place).expect("a directory");
    std::fs::write(place.join("old"), "here").expect("a file");
    let full = dump::restore_with_files(&file, &target, 2, &place, &mut |_| {});
    assert!(matches!(full, Err(DumpError::NotEmpty(_))), "{full:?}");
    std::fs::remove_file(place.join("old")).expect("it was left alone");
    let restored = dump::restore_with_files(&file, &target, 2, &place, &mut |_| {});
    assert_eq!(restored.expect("it is restored"), written);
    for Attachment { name, path } in files {
        let read = |path: &Path| std::fs::read(path).expect("it is there");
        assert!(read(&place.join(&name)) == read(&path), "{name}");
    }
}

pub async fn a_damaged_dump_is_refused(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let file = beside(&config, "dump");
    dump::dump(&store, &file, &mut |_| {}).expect("the dump is written");
    drop(store);
    let good = std::fs::read(&file).expect("the dump is there");
    let target = Config { path: beside(&config, "target"), ..config.clone() };
    let refused = |bytes: &[u8]| refuse(&file, bytes, &target);

    for place in [0, 9, 12, 30, good.len() / 3, good.len() / 2, good.len() - 9, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        refused(&bytes);
    }
    for length in [0, 7, 8, 12, good.len() / 2, good.len() - 20, good.len() - 1] {
        refused(&good[..length]);
    }
    refused(&[&good[..], b"x"].concat());

    std::fs::write(&file, &good).expect("the dump can be changed");
    dump::restore(&file, &target, 2, &mut |_| {}).expect("nothing was left in the way");
    let store = Store::open(&target, 1).expect("it is a store");
    assert_eq!(store.scan::<Things>("p", Range::all()).await.expect("read").len(), 300);
}

fn refuse(file: &Path, bytes: &[u8], target: &Config) {
    std::fs::write(file, bytes).expect("the dump can be changed");
    let checked = dump::check(file, &mut |_| {});
    let restored = dump::restore(file, target, 2, &mut |_| {});
    for outcome in [checked, restored] {
        let told = matches!(outcome, Err(DumpError::Damaged { .. } | DumpError::NotADump { .. }));
        assert!(told, "{outcome:?}");
    }
    assert!(!mark(target).exists());
}

pub async fn a_restore_needs_an_empty_place(config: Config) {
    let store = open(&config);
    put(&store, "p", (1, b""), "precious").await;
    let file = beside(&config, "dump");
    dump::dump(&store, &file, &mut |_| {}).expect("the dump is written");

    let busy = dump::restore(&file, &config, 2, &mut |_| {});
    assert!(matches!(busy, Err(DumpError::Open(OpenError::Locked(_)))), "{busy:?}");
    drop(store);
    let full = dump::restore(&file, &config, 2, &mut |_| {});
    assert!(matches!(full, Err(DumpError::NotEmpty(_))), "{full:?}");
    let store = open(&config);
    let kept = store.get::<Things>("p", (1, &b""[..])).await.expect("read");
    assert_eq!(kept, Some(thing("precious")));
}

pub async fn verification_reads_every_row(config: Config) {
    let store = open(&config);
    fill(&store).await;
    let mut last = Progress::default();
    let summary = dump::verify(&store, &mut |progress| last = progress.clone());
    let summary = summary.expect("the store is fine");
    assert_eq!(summary, last);
    assert_eq!((summary.rows, summary.tables), (602, 3));
    let rows = contents(&store);
    let bytes = rows.iter().map(|(_, key, value)| (key.len() + value.len()) as u64);
    assert_eq!(summary.bytes, bytes.sum::<u64>());
}
