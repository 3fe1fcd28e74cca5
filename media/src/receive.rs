//! Bytes on their way into a file: bounded in size and time, whoever sends them.

use std::{collections::HashMap, fmt::Display, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    error::Error,
    files::{Files, NewFile},
};

/// How long nothing may come.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Before this nobody is too slow.
const GRACE: Duration = Duration::from_secs(60);
/// Bytes in a second, in the long run.
const RATE_MIN: u64 = 16 << 10;
/// Uploads of one user at the same time.
const PER_USER: usize = 8;
/// Uploads of all users at the same time.
const AT_ONCE: usize = 256;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why bytes stopped coming.
#[derive(Debug)]
pub(crate) enum Broken {
    TooLarge,
    /// By the other side, or by its slowness.
    Sender(String),
    Ours(Error),
}

impl Files {
    /// Writes what comes, up to `max` bytes.
    pub(crate) async fn receive<E: Display>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        max: u64,
    ) -> Result<NewFile, Broken> {
        let mut body = pin!(body);
        let mut file = self.create().await.map_err(Broken::Ours)?;
        let start = Instant::now();
        loop {
            let next = tokio::time::timeout(IDLE_MAX, body.next()).await;
            let Some(chunk) = next.map_err(|_elapsed| slow())? else { return Ok(file) };
            let chunk = chunk.map_err(|error| Broken::Sender(error.to_string()))?;
            if file.bytes + chunk.len() as u64 > max {
                return Err(Broken::TooLarge);
            }
            file.write(&chunk).await.map_err(Broken::Ours)?;
            if start.elapsed() > GRACE + Duration::from_secs(file.bytes / RATE_MIN) {
                return Err(slow());
            }
        }
    }
}

fn slow() -> Broken {
    Broken::Sender("it takes too long".to_owned())
}

/// How many uploads there are.
pub(crate) struct Uploads {
    all: Arc<Semaphore>,
    by_user: Arc<Mutex<HashMap<OwnedUserId, usize>>>,
}

/// One of them, until it is dropped.
pub(crate) struct Uploading {
    user: OwnedUserId,
    by_user: Arc<Mutex<HashMap<OwnedUserId, usize>>>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Uploads {
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), by_user: Arc::default() }
    }

    pub(crate) fn begin(&self, user: &UserId) -> Result<Uploading, Error> {
        let busy = || Error::Busy { retry_after: RETRY_AFTER };
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| busy())?;
        let mut by_user = self.by_user.lock();
        let count = by_user.entry(user.to_owned()).or_default();
        if *count >= PER_USER {
            return Err(busy());
        }
        *count += 1;
        let by_user = Arc::clone(&self.by_user);
        Ok(Uploading { user: user.to_owned(), by_user, _one_of_all: one_of_all })
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let mut by_user = self.by_user.lock();
        if let Some(count) = by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::{PER_USER, Uploads};

    #[test]
    fn one_user_does_not_take_the_place_of_others() {
        let (uploads, ada) = (Uploads::new(), user_id!("@ada:x.test"));
        let mut open: Vec<_> = (0..PER_USER).map(|_| uploads.begin(ada).unwrap()).collect();
        assert!(uploads.begin(ada).is_err(), "one too many");
        assert!(uploads.begin(user_id!("@bob:x.test")).is_ok());
        open.pop();
        assert!(uploads.begin(ada).is_ok(), "one has ended");
        drop(open);
        assert!(uploads.by_user.lock().is_empty());
    }
}
