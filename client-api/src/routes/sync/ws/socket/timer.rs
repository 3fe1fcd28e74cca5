//! A timer that is set again and again to about the same time.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// Set only if it would be late: each setting goes through a lock that all timers share. So it may
/// be early, for which the one who waits looks what the time is.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Resolves at the deadline, or before; without one it need not at all. Safe to cancel.
    pub(super) async fn at(&mut self, deadline: Option<Instant>) {
        let is_late = |sleep: &Pin<Box<Sleep>>| deadline.is_some_and(|at| sleep.deadline() > at);
        if self.0.as_ref().is_none_or(is_late) {
            self.0 = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        }
        match &mut self.0 {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::Timer;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_never_late_and_never_early_twice() {
        let begin = Instant::now();
        let mut timer = Timer::default();
        timeout(SECOND, timer.at(None)).await.expect_err("there is nothing to wait for");
        timeout(SECOND, timer.at(Some(begin + 10 * SECOND))).await.expect_err("it is too early");
        timer.at(Some(begin + 5 * SECOND)).await;
        assert_eq!(begin.elapsed().as_secs(), 5, "an earlier deadline counts");
        timeout(SECOND, timer.at(Some(begin + 8 * SECOND))).await.expect_err("it is too early");
        timer.at(Some(begin + 20 * SECOND)).await;
        assert_eq!(begin.elapsed().as_secs(), 8, "a later one is waited for anew");
        timer.at(Some(begin + 20 * SECOND)).await;
        assert_eq!(begin.elapsed().as_secs(), 20);
    }
}
