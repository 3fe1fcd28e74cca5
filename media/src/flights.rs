//! Work that several may wait for and that is done once: fetching content, making a thumbnail.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use ruma::OwnedServerName;
use stdx::Tasks;
use tokio::sync::oneshot;

use crate::{error::Error, thumbnails::Size};

/// Different things that may be waited for.
const OPEN_MAX: usize = 1024;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Of which content what is wanted: itself, or a thumbnail.
pub(crate) type Key = (OwnedServerName, String, Option<Size>);

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is in the store.
    Stored,
    /// The content itself is the thumbnail; it is of this type.
    Original(&'static str),
}

pub(crate) type Outcome = Result<Done, Error>;

/// Work under way.
#[derive(Clone)]
pub(crate) struct Flight {
    outcome: Shared<BoxFuture<'static, Outcome>>,
    begun: Arc<AtomicBool>,
}

impl Flight {
    pub(crate) async fn outcome(self) -> Outcome {
        self.outcome.await
    }

    /// `None` if within `wait` nothing has begun to arrive.
    pub(crate) async fn outcome_within(self, wait: Duration) -> Option<Outcome> {
        match tokio::time::timeout(wait, self.outcome.clone()).await {
            Ok(outcome) => Some(outcome),
            Err(_elapsed) if self.begun.load(Ordering::Relaxed) => Some(self.outcome.await),
            Err(_elapsed) => None,
        }
    }
}

pub(crate) struct Flights {
    tasks: Tasks,
    open: Arc<Mutex<HashMap<Key, Flight>>>,
}

impl Flights {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks, open: Arc::default() }
    }

    /// Joins the work under way for the key, or starts it. It goes on when nobody waits any more.
    /// `work` sets what it is given once its result is only a matter of transfer.
    pub(crate) fn join<F>(
        &self,
        key: Key,
        work: impl FnOnce(Arc<AtomicBool>) -> F,
    ) -> Result<Flight, Error>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut open = self.open.lock();
        if let Some(flight) = open.get(&key) {
            return Ok(flight.clone());
        }
        if open.len() >= OPEN_MAX {
            return Err(Error::Busy { retry_after: RETRY_AFTER });
        }
        let (tell, told) = oneshot::channel();
        let stopped = |_| Err(Error::Remote("the work was given up".to_owned()));
        let outcome = told.map(move |told| told.unwrap_or_else(stopped)).boxed().shared();
        let flight = Flight { outcome, begun: Arc::default() };
        open.insert(key.clone(), flight.clone());
        drop(open);
        let (work, open) = (work(Arc::clone(&flight.begun)), Arc::clone(&self.open));
        // Dropped with the task, however that ends.
        let landing = Landing { open, key };
        self.tasks.spawn_until_stopped("media", async move {
            let outcome = work.await;
            drop(landing);
            let _nobody_waits = tell.send(outcome);
        });
        Ok(flight)
    }
}

struct Landing {
    open: Arc<Mutex<HashMap<Key, Flight>>>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.open.lock().remove(&self.key);
    }
}
