//! What is known of push gateways: how much is under way to each, and when one comes back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

/// Gateways beyond which those that nobody uses at the moment are forgotten.
const GATEWAYS_KEPT: usize = 1024;

/// By host and port. A user may name any.
pub(crate) struct Gateways {
    in_flight: usize,
    known: Mutex<HashMap<String, Arc<State>>>,
}

pub(crate) struct State {
    /// Requests that may be under way at one time: the others of a slow gateway wait for each other
    /// and for nobody else.
    pub(crate) slots: Semaphore,
    failing: AtomicBool,
    /// It answered after it had failed.
    pub(crate) recovered: Notify,
}

impl Gateways {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self { in_flight, known: Mutex::default() }
    }

    pub(crate) fn at(&self, host: String) -> Arc<State> {
        let mut known = self.known.lock();
        if known.len() >= GATEWAYS_KEPT && !known.contains_key(&host) {
            known.retain(|_, state| Arc::strong_count(state) > 1);
        }
        let new = || {
            Arc::new(State {
                slots: Semaphore::new(self.in_flight),
                failing: AtomicBool::new(false),
                recovered: Notify::new(),
            })
        };
        Arc::clone(known.entry(host).or_insert_with(new))
    }
}

impl State {
    pub(crate) fn failed(&self) {
        self.failing.store(true, Ordering::Release);
    }

    /// Whoever waits to try it again need not wait any longer.
    pub(crate) fn answered(&self) {
        if self.failing.swap(false, Ordering::AcqRel) {
            self.recovered.notify_waiters();
        }
    }
}
