//! Tables: typed partition columns, typed sort columns, a versioned value.

use std::marker::PhantomData;

use crate::{
    key::{EncodesAs, Key, PrefixOf},
    record::Record,
};

/// A table as its owning crate declares it. Implemented by an empty marker type.
///
/// Tables whose rows must change together under one condition share their partition key; a batch
/// then has that partition as its home.
pub trait Table: 'static {
    /// Stable: it names the data on disk.
    const NAME: &'static str;
    /// Whether [`Store::get_latest`](crate::Store::get_latest) is used on this table: its submitted
    /// rows are then kept in memory until they are on disk.
    const READ_AHEAD: bool = false;
    type Partition: Key;
    /// `()` for a table with one row per partition.
    type Sort: Key;
    type Value: Record;
}

/// One row of a range read.
#[derive(Debug, Clone)]
pub struct Row<T: Table> {
    pub sort: T::Sort,
    pub value: T::Value,
}

/// A range of sort keys within one partition. Bounds are on encoded keys, so a prefix range covers
/// every key that starts with the given components.
#[derive(Debug, Clone)]
pub struct Range<K> {
    pub(crate) start: Vec<u8>,
    /// Exclusive; `None` is the end of the partition.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) reverse: bool,
    pub(crate) limit: usize,
    key: PhantomData<fn() -> K>,
}

/// The bytes under which a row is stored.
pub(crate) fn row_key<T: Table>(
    partition: impl EncodesAs<T::Partition>,
    sort: impl EncodesAs<T::Sort>,
) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    partition.encode(&mut key);
    sort.encode(&mut key);
    if key.is_empty() {
        // A table of a single row: not every engine takes an empty key.
        key.push(0);
    }
    key
}

/// The smallest byte string greater than every string that starts with `prefix`; `None` if there
/// is none.
pub(crate) fn after_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xFF {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

impl<K> Range<K> {
    fn new(start: Vec<u8>, end: Option<Vec<u8>>) -> Self {
        Self { start, end, reverse: false, limit: usize::MAX, key: PhantomData }
    }

    /// The whole partition. Give it a limit unless the partition is known to be small.
    pub fn all() -> Self {
        Self::new(Vec::new(), None)
    }

    /// Keys that begin with the given components.
    pub fn prefix(prefix: impl PrefixOf<K>) -> Self {
        let mut start = Vec::new();
        prefix.encode(&mut start);
        Self::new(start.clone(), after_prefix(start))
    }

    /// `low <= key`.
    pub fn from(low: impl EncodesAs<K>) -> Self {
        let mut start = Vec::new();
        low.encode(&mut start);
        Self::new(start, None)
    }

    /// `low < key`.
    pub fn after(low: impl EncodesAs<K>) -> Self {
        let mut range = Self::from(low);
        // Encoded keys are never prefixes of one another, so one more byte is "just after".
        range.start.push(0);
        range
    }

    /// Narrows the range to `key < high`.
    pub fn before(mut self, high: impl EncodesAs<K>) -> Self {
        let mut end = Vec::new();
        high.encode(&mut end);
        self.narrow(end);
        self
    }

    /// Narrows the range to `key <= high`.
    pub fn up_to(mut self, high: impl EncodesAs<K>) -> Self {
        let mut end = Vec::new();
        high.encode(&mut end);
        end.push(0);
        self.narrow(end);
        self
    }

    fn narrow(&mut self, end: Vec<u8>) {
        if self.end.as_ref().is_none_or(|current| end < *current) {
            self.end = Some(end);
        }
    }

    /// Largest key first.
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
