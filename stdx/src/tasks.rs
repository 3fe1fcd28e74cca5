//! Every background task has an owner: it is spawned here, told to stop here, and waited for here.

use std::future::Future;

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A set of background tasks that end together.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends by itself. A long-lived task watches [`Tasks::stopping`].
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Not an async block around it: that would hold the task twice, once as what it captured
        // and once as what it awaits, and there is one such task for each connection.
        let task = task.map(move |()| tracing::trace!(task = name, "task ended"));
        let _detached = self.tracker.spawn(task);
    }

    /// Runs `task` until it ends or the set is told to stop, whichever is first. `task` is dropped
    /// at an await point then, so it must be safe to cancel.
    pub fn spawn_until_stopped<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            let _ended = stop.run_until_cancelled(task).await;
        });
    }

    /// Resolves once the set is told to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<'_> {
        self.stop.cancelled()
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// For those who need the token itself, such as `select!` loops in other crates.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells every task to stop, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells every task to stop and waits for the last one.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::Tasks;

    #[tokio::test]
    async fn shutdown_waits_for_the_last_task() {
        let tasks = Tasks::new();
        let ended = Arc::new(AtomicBool::new(false));
        let (set, inner) = (ended.clone(), tasks.clone());
        tasks.spawn("test", async move {
            inner.stopping().await;
            tokio::task::yield_now().await;
            set.store(true, Ordering::SeqCst);
        });
        tasks.shutdown().await;
        assert!(ended.load(Ordering::SeqCst));
    }
}
