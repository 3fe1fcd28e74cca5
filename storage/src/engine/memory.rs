//! The engine for tests: ordered maps behind one lock.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Engine, EngineError, EngineSnapshot, KeyRange, Write};

type Tables = BTreeMap<String, BTreeMap<Bytes, Bytes>>;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    tables: RwLock<Tables>,
}

impl Engine for Memory {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.tables.read().get(table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        table: &str,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(Vec::new());
        }
        let tables = self.tables.read();
        let Some(rows) = tables.get(table) else { return Ok(Vec::new()) };
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let found = rows.range::<[u8], _>((Bound::Included(&*range.start), end));
        let row = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        Ok(if reverse {
            found.rev().take(limit).map(row).collect()
        } else {
            found.take(limit).map(row).collect()
        })
    }

    fn apply(&self, writes: Vec<Write<'_>>) -> Result<(), EngineError> {
        let mut tables = self.tables.write();
        for Write { table, key, value } in writes {
            if !tables.contains_key(table) {
                tables.insert(table.to_owned(), BTreeMap::new());
            }
            let Some(rows) = tables.get_mut(table) else { continue };
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        Ok(Box::new(MemorySnapshot(self.tables.read().clone())))
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct MemorySnapshot(Tables);

impl EngineSnapshot for MemorySnapshot {
    fn tables(&self) -> Result<Vec<String>, EngineError> {
        let used = self.0.iter().filter(|(_, rows)| !rows.is_empty());
        Ok(used.map(|(name, _)| name.clone()).collect())
    }

    fn for_each(
        &self,
        table: &str,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        for (key, value) in self.0.get(table).into_iter().flatten() {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }
}
