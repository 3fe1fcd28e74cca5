//! Names each thing a scenario does, bounds it in time and reports it as one line.

use std::{future::Future, time::Duration};

use anyhow::Result;
use tokio::time::timeout;

const STEP: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) failures: usize,
}

/// A step failed that everything after it stands on.
#[derive(Debug)]
pub(crate) struct ScenarioOver;

impl Steps {
    /// A failed step does not hide the next ones.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        action: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        self.within(STEP, name, action).await
    }

    pub(crate) async fn essential<T>(
        &mut self,
        name: &str,
        action: impl Future<Output = Result<T>>,
    ) -> Result<T, ScenarioOver> {
        self.run(name, action).await.ok_or(ScenarioOver)
    }

    pub(crate) async fn within<T>(
        &mut self,
        limit: Duration,
        name: &str,
        action: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        match timeout(limit, action).await {
            Ok(Ok(value)) => {
                println!("ok {name}");
                return Some(value);
            }
            Ok(Err(reason)) => self.fail(name, &format!("{reason:#}")),
            Err(_) => self.fail(name, &format!("nothing within {limit:?}")),
        }
        None
    }

    fn fail(&mut self, name: &str, reason: &str) {
        self.failures += 1;
        let reason: Vec<_> = reason.split_whitespace().collect();
        println!("FAIL {name}: {}", reason.join(" "));
    }
}
