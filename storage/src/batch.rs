//! One atomic change: home rows, derived rows, facts.

use bytes::Bytes;

use crate::{
    engine::Write,
    key::EncodesAs,
    log::Fact,
    record::Record,
    table::{Table, row_key},
};

/// What must hold for the batch to be applied. Checked by the writer, in submission order, so two
/// batches can never both win.
#[derive(Debug, Clone)]
pub struct Condition {
    pub(crate) table: &'static str,
    pub(crate) key: Bytes,
    pub(crate) expected: Option<Bytes>,
}

/// A batch under construction.
///
/// - *Home rows* ([`put`](Self::put), [`delete`](Self::delete)) share one partition: the commit
///   point. Conditions are on that partition.
/// - *Derived rows* ([`derive_put`](Self::derive_put), [`derive_delete`](Self::derive_delete)) lie
///   anywhere. Each is idempotent and could be rebuilt from home rows: an engine without
///   cross-partition transactions applies them after the commit point and finishes them after a
///   crash.
/// - *Facts* go to the ordered log and wake its followers.
///
/// An embedded engine applies all of it in one durable write.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) writes: Vec<Write<'static>>,
    /// Which of the writes are of tables that read ahead. Usually none or one.
    pub(crate) ahead: Vec<usize>,
    pub(crate) facts: Vec<Fact>,
    /// The longest key, to be refused at submission if no engine could hold it.
    pub(crate) longest_key: usize,
}

/// Exactly as large as what it holds: memtables and caches keep it for long.
pub(crate) fn exact(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
        value: &T::Value,
    ) -> &mut Self {
        self.write::<T>(row_key::<T>(partition, sort), Some(exact(value.to_bytes())))
    }

    pub fn delete<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        self.write::<T>(row_key::<T>(partition, sort), None)
    }

    pub fn derive_put<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
        value: &T::Value,
    ) -> &mut Self {
        self.write::<T>(row_key::<T>(partition, sort), Some(exact(value.to_bytes())))
    }

    pub fn derive_delete<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        self.write::<T>(row_key::<T>(partition, sort), None)
    }

    /// The row must not exist.
    pub fn if_absent<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        self.condition::<T>(row_key::<T>(partition, sort), None)
    }

    /// The row must hold exactly this value.
    pub fn if_equal<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
        value: &T::Value,
    ) -> &mut Self {
        self.condition::<T>(row_key::<T>(partition, sort), Some(exact(value.to_bytes())))
    }

    pub fn fact(&mut self, fact: Fact) -> &mut Self {
        self.facts.push(fact);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.facts.is_empty()
    }

    fn write<T: Table>(&mut self, key: Vec<u8>, value: Option<Bytes>) -> &mut Self {
        self.longest_key = self.longest_key.max(key.len());
        if T::READ_AHEAD {
            self.ahead.push(self.writes.len());
        }
        self.writes.push(Write { table: T::NAME, key: exact(key), value });
        self
    }

    fn condition<T: Table>(&mut self, key: Vec<u8>, expected: Option<Bytes>) -> &mut Self {
        self.longest_key = self.longest_key.max(key.len());
        self.conditions.push(Condition { table: T::NAME, key: exact(key), expected });
        self
    }

    /// The submitted rows of tables that read ahead.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = &Write<'static>> {
        self.ahead.iter().map(|index| &self.writes[*index])
    }
}
