//! One atomic change: home rows, derived rows, facts.

use crate::{
    engine::Write,
    key::EncodesAs,
    log::Fact,
    record::Record,
    table::Table,
};

/// What must hold for the batch to be applied. Checked by the writer, in submission order, so two
/// batches can never both win.
#[derive(Debug, Clone)]
pub struct Condition {
    pub(crate) table: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) expected: Option<Vec<u8>>,
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
    pub(crate) writes: Vec<(Write, bool)>,
    pub(crate) facts: Vec<Fact>,
}

fn key<T: Table>(
    partition: impl EncodesAs<T::Partition>,
    sort: impl EncodesAs<T::Sort>,
) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    partition.encode(&mut key);
    sort.encode(&mut key);
    key
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
        self.write::<T>(key::<T>(partition, sort), Some(value.to_bytes()))
    }

    pub fn delete<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        self.write::<T>(key::<T>(partition, sort), None)
    }

    pub fn derive_put<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
        value: &T::Value,
    ) -> &mut Self {
        self.write::<T>(key::<T>(partition, sort), Some(value.to_bytes()))
    }

    pub fn derive_delete<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        self.write::<T>(key::<T>(partition, sort), None)
    }

    /// The row must not exist.
    pub fn if_absent<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
    ) -> &mut Self {
        let key = key::<T>(partition, sort);
        self.conditions.push(Condition { table: T::NAME, key, expected: None });
        self
    }

    /// The row must hold exactly this value.
    pub fn if_equal<T: Table>(
        &mut self,
        partition: impl EncodesAs<T::Partition>,
        sort: impl EncodesAs<T::Sort>,
        value: &T::Value,
    ) -> &mut Self {
        let key = key::<T>(partition, sort);
        self.conditions.push(Condition { table: T::NAME, key, expected: Some(value.to_bytes()) });
        self
    }

    pub fn fact(&mut self, fact: Fact) -> &mut Self {
        self.facts.push(fact);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.facts.is_empty()
    }

    fn write<T: Table>(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> &mut Self {
        self.writes.push((Write { table: T::NAME, key, value }, T::READ_AHEAD));
        self
    }
}
