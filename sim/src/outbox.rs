//! What is on its way from one server to another.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// PDUs of a transaction.
pub(crate) const TRANSACTION: usize = 50;

/// By sender and receiver.
#[derive(Default)]
pub(crate) struct Outboxes(BTreeMap<(usize, usize), VecDeque<Bytes>>);

impl Outboxes {
    pub(crate) fn push(&mut self, from: usize, to: usize, pdu: Bytes) {
        self.0.entry((from, to)).or_default().push_back(pdu);
    }

    /// The pairs that something waits between.
    pub(crate) fn waiting(&self) -> Vec<(usize, usize)> {
        self.0.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect()
    }

    /// The next transaction, of at most `limit` PDUs; it waits until it is [acknowledged](Self::done).
    pub(crate) fn next(&self, from: usize, to: usize, limit: usize) -> Vec<Bytes> {
        let queue = self.0.get(&(from, to)).into_iter().flatten();
        queue.take(limit.min(TRANSACTION)).cloned().collect()
    }

    pub(crate) fn done(&mut self, from: usize, to: usize, count: usize) {
        if let Some(queue) = self.0.get_mut(&(from, to)) {
            queue.drain(..count.min(queue.len()));
        }
    }

    /// What a server does that has been away from another for long: only the latest is sent, and the
    /// other asks for the rest.
    pub(crate) fn keep_latest(&mut self, from: usize, to: usize) {
        if let Some(queue) = self.0.get_mut(&(from, to)) {
            let old = queue.len().saturating_sub(1);
            queue.drain(..old);
        }
    }
}
