//! Rows that were submitted but are not known to be on disk, for `get_latest`.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::engine::Write;

/// By table and key: the ticket of the batch that wrote the row last, and what it wrote.
type Rows = HashMap<&'static str, HashMap<Bytes, (u64, Option<Bytes>)>>;

#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    rows: RwLock<Rows>,
}

/// A row that a batch left here, to be forgotten once that batch is applied.
#[derive(Debug)]
pub(crate) struct AheadRow {
    pub(crate) ticket: u64,
    pub(crate) table: &'static str,
    pub(crate) key: Bytes,
}

impl ReadAhead {
    /// `Some(None)` is a submitted delete.
    pub(crate) fn get(&self, table: &'static str, key: &[u8]) -> Option<Option<Bytes>> {
        let rows = self.rows.read();
        rows.get(table)?.get(key).map(|(_, value)| value.clone())
    }

    pub(crate) fn insert<'a>(&self, ticket: u64, writes: impl Iterator<Item = &'a Write<'static>>) {
        let mut rows = None;
        for write in writes {
            let rows = rows.get_or_insert_with(|| self.rows.write());
            let table = rows.entry(write.table).or_default();
            table.insert(write.key.clone(), (ticket, write.value.clone()));
        }
    }

    /// Forgets rows whose batch is applied, unless a later batch wrote them again.
    pub(crate) fn forget(&self, applied: &[AheadRow]) {
        if applied.is_empty() {
            return;
        }
        let mut rows = self.rows.write();
        for AheadRow { ticket, table, key } in applied {
            let Some(table) = rows.get_mut(table) else { continue };
            if table.get(key).is_some_and(|(latest, _)| latest == ticket) {
                table.remove(key);
            }
        }
    }
}
