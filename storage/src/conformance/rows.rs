//! Single rows and ranges.

use std::collections::BTreeMap;

use super::{Heads, Single, Thing, Things, fact, open, put, thing};
use crate::{
    batch::Batch,
    store::{CommitError, Config, MAX_KEY_BYTES, Store},
    table::Range,
};

type Sort = (u64, Vec<u8>);

async fn sorts(store: &Store, partition: &str, range: Range<Sort>) -> Vec<u64> {
    let rows = store.scan::<Things>(partition, range).await.expect("the range is read");
    rows.into_iter().map(|row| row.sort.0).collect()
}

pub async fn a_row_is_read_back(config: Config) {
    let store = open(&config);
    let get = async || store.get::<Things>("p", (1, &b"x"[..])).await.expect("read");
    assert_eq!(get().await, None, "in a table that was never written");
    put(&store, "p", (1, b"x"), "first").await;
    assert_eq!(get().await, Some(thing("first")));
    put(&store, "p", (1, b"x"), "second").await;
    assert_eq!(get().await, Some(thing("second")));

    let mut batch = Batch::new();
    batch.delete::<Things>("p", (1, &b"x"[..]));
    batch.delete::<Things>("p", (2, &b"never there"[..]));
    store.commit(batch).await.expect("deleting what is not there is fine");
    assert_eq!(get().await, None);
    assert_eq!(store.get::<Things>("p", (1, &b"y"[..])).await.expect("read"), None);
}

pub async fn ranges_are_what_they_say(config: Config) {
    let store = open(&config);
    for number in 0..10 {
        put(&store, "p", (number, b"k"), "v").await;
    }
    let key = |number: u64| (number, &b"k"[..]);
    let cases: [(Range<Sort>, &[u64]); 12] = [
        (Range::all(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Range::all().reversed(), &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (Range::all().limit(3), &[0, 1, 2]),
        (Range::all().reversed().limit(3), &[9, 8, 7]),
        (Range::all().limit(0), &[]),
        (Range::from(key(7)), &[7, 8, 9]),
        (Range::after(key(7)), &[8, 9]),
        (Range::after(key(2)).before(key(5)), &[3, 4]),
        (Range::after(key(2)).up_to(key(5)).reversed(), &[5, 4, 3]),
        (Range::prefix((4,)), &[4]),
        (Range::from(key(8)).before(key(3)), &[]),
        (Range::after(key(9)), &[]),
    ];
    for (range, expected) in cases {
        let described = format!("{range:?}");
        assert_eq!(sorts(&store, "p", range).await, expected, "{described}");
    }
}

pub async fn the_order_is_the_logical_order(config: Config) {
    let store = open(&config);
    let numbers = [0, 1, 255, 256, 65_535, 1 << 32, u64::MAX];
    let texts: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\0\x01", b"a", b"a\0b", b"\xff\xff"];
    let mut batch = Batch::new();
    for number in numbers {
        for text in texts.iter().rev() {
            batch.put::<Things>("p", (number, *text), &thing("v"));
        }
    }
    store.commit(batch).await.expect("the batch is applied");

    let rows = store.scan::<Things>("p", Range::all()).await.expect("the range is read");
    let found: Vec<Sort> = rows.into_iter().map(|row| row.sort).collect();
    let mut expected: Vec<Sort> = Vec::new();
    for number in numbers {
        expected.extend(texts.iter().map(|text| (number, text.to_vec())));
    }
    expected.sort();
    assert_eq!(found, expected);
}

/// Puts and deletes at random, each step compared with an ordered map.
pub async fn random_histories_match_a_model(config: Config) {
    let store = open(&config);
    let rng = stdx::Rng::from_seed(0x5eed);
    let mut model: BTreeMap<Sort, Thing> = BTreeMap::new();
    for step in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..=rng.below(20) {
            let sort = (rng.below(8), vec![rng.below(3) as u8; rng.below(3) as usize]);
            if rng.below(3) == 0 {
                batch.delete::<Things>("p", (sort.0, sort.1.as_slice()));
                model.remove(&sort);
            } else {
                let value = thing(format!("{step} {}", rng.next_u64()));
                batch.put::<Things>("p", (sort.0, sort.1.as_slice()), &value);
                model.insert(sort, value);
            }
        }
        store.commit(batch).await.expect("the batch is applied");
        let (low, limit) = (rng.below(8), 1 + rng.below(12) as usize);
        let forward = Range::from((low, &b""[..])).limit(limit);
        let expected = model.range((low, Vec::new())..).take(limit);
        compare(&store, forward, expected).await;
        let backward = Range::all().before((low, &b""[..])).reversed().limit(limit);
        let expected = model.range(..(low, Vec::new())).rev().take(limit);
        compare(&store, backward, expected).await;
    }
}

async fn compare<'a>(
    store: &Store,
    range: Range<Sort>,
    expected: impl Iterator<Item = (&'a Sort, &'a Thing)>,
) {
    let rows = store.scan::<Things>("p", range).await.expect("the range is read");
    let found: Vec<_> = rows.iter().map(|row| (&row.sort, &row.value)).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
}

pub async fn large_values_are_whole(config: Config) {
    let store = open(&config);
    let sizes = [1_usize << 20, 0, 300, 16_380, 16_384, 16_381, 65_536, 200_000, 1, 1 << 20];
    let text = |size: usize| -> String { ('a'..='z').cycle().skip(size % 26).take(size).collect() };
    for size in sizes {
        let mut batch = Batch::new();
        batch.put::<Things>("p", (1, &b"grows and shrinks"[..]), &thing(text(size)));
        batch.put::<Things>("p", (2, &b"neighbour"[..]), &thing("small"));
        batch.put::<Things>("q", (size as u64, &b""[..]), &thing(text(size)));
        store.commit(batch).await.expect("the batch is applied");
        let found = store.get::<Things>("p", (1, &b"grows and shrinks"[..])).await.expect("read");
        assert!(found == Some(thing(text(size))), "a value of {size} bytes is read back");
        assert_eq!(sorts(&store, "p", Range::all()).await, [1, 2], "no piece shows up as a row");
    }
    let rows = store.scan::<Things>("q", Range::all().reversed()).await.expect("read");
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row.value.text.len() as u64 == row.sort.0));

    let mut batch = Batch::new();
    batch.delete::<Things>("p", (1, &b"grows and shrinks"[..]));
    store.commit(batch).await.expect("the batch is applied");
    assert_eq!(sorts(&store, "p", Range::all()).await, [2]);
    let (mut rows, snapshot) = (0, store.snapshot().expect("a snapshot"));
    snapshot
        .for_each("conformance_things", &mut |_, _| {
            rows += 1;
            true
        })
        .expect("read");
    assert_eq!(rows, 10, "the pieces of a deleted value are gone");
}

pub async fn keys_may_hold_anything(config: Config) {
    let store = open(&config);
    let partitions = ["", "\0", "a", "a\0", "a\0b", "\u{10ffff}", "!room:example.org"];
    let mut batch = Batch::new();
    for partition in partitions {
        for bytes in [&b""[..], b"\0", b"\xff", b"\0\xff", b"\xff\0"] {
            batch.put::<Things>(partition, (0, bytes), &thing(format!("{partition:?} {bytes:?}")));
        }
    }
    store.commit(batch).await.expect("the batch is applied");
    for partition in partitions {
        let rows = store.scan::<Things>(partition, Range::all()).await.expect("read");
        assert_eq!(rows.len(), 5, "{partition:?}");
        for row in rows {
            let expected = thing(format!("{partition:?} {:?}", row.sort.1.as_slice()));
            assert_eq!(row.value, expected);
        }
    }
}

pub async fn a_key_that_is_too_long_is_refused(config: Config) {
    let store = open(&config);
    let longest = "k".repeat(MAX_KEY_BYTES - 2);
    let mut batch = Batch::new();
    batch.put::<Heads>(&longest, (), &thing("fits"));
    store.commit(batch).await.expect("the longest key is fine");
    assert_eq!(store.get::<Heads>(&longest, ()).await.expect("read"), Some(thing("fits")));

    let mut batch = Batch::new();
    batch.put::<Heads>(&format!("{longest}k"), (), &thing("does not fit"));
    batch.fact(fact("p"));
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::KeyTooLong(_))), "{refused:?}");
    put(&store, "p", (1, b""), "the store lives on").await;
}

pub async fn a_table_may_have_one_row(config: Config) {
    let store = open(&config);
    let mut batch = Batch::new();
    batch.if_absent::<Single>((), ()).put::<Single>((), (), &thing("the one"));
    store.commit(batch).await.expect("the batch is applied");
    assert_eq!(store.get::<Single>((), ()).await.expect("read"), Some(thing("the one")));
    assert_eq!(store.scan::<Single>((), Range::all()).await.expect("read").len(), 1);
}

pub async fn partitions_do_not_mix(config: Config) {
    let store = open(&config);
    for partition in ["a", "aa", "b", ""] {
        put(&store, partition, (partition.len() as u64, b""), partition).await;
    }
    assert_eq!(sorts(&store, "a", Range::all()).await, [1]);
    assert_eq!(sorts(&store, "aa", Range::all().reversed()).await, [2]);
    assert_eq!(sorts(&store, "", Range::all()).await, [0]);
    assert_eq!(sorts(&store, "c", Range::all()).await, Vec::<u64>::new());
}
