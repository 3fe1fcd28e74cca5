//! Content of other servers: fetched once, however many ask for it, and kept like our own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Inner, Media, Upload};
use crate::{
    error::Error,
    flights::{Done, Outcome},
    ports::{RemoteContent, RemoteError, RemoteMedia},
    receive::Broken,
    store::MediaRecord,
};

/// Transfers at the same time.
const AT_ONCE: usize = 64;
/// Of them, from one server.
const PER_SERVER: usize = 8;

impl Media {
    pub(super) async fn find_remote(
        &self,
        server: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<MediaRecord, Error> {
        let Inner { store, flights, remote, .. } = &*self.inner;
        if let Some(found) = store.media(server, media_id).await? {
            return Ok(found);
        }
        // Without federation there is nothing elsewhere.
        let remote = remote.get().ok_or(Error::NotFound)?.clone();
        let key = (server.to_owned(), media_id.to_owned(), None);
        let (media, server_name, id) = (self.clone(), server.to_owned(), media_id.to_owned());
        let flight =
            flights.join(key, move |begun| media.fetch(remote, server_name, id, wait, begun))?;
        match flight.outcome_within(wait).await {
            Some(outcome) => outcome?,
            None => return Err(Error::NotYetUploaded),
        };
        store.media(server, media_id).await?.ok_or(Error::NotFound)
    }

    async fn fetch(
        self,
        remote: Arc<dyn RemoteMedia>,
        server: OwnedServerName,
        media_id: String,
        wait: Duration,
        begun: Arc<AtomicBool>,
    ) -> Outcome {
        let Inner { config, files, store, fetches, .. } = &*self.inner;
        let _slots = fetches.begin(&server).await;
        // Somebody may have fetched it between our look at the store and this flight.
        if store.media(&server, &media_id).await?.is_some() {
            return Ok(Done::Stored);
        }
        if store.0.is_low_on_space() {
            return Err(Error::LowSpace);
        }
        let content = remote.download(&server, &media_id, wait).await.map_err(refused)?;
        begun.store(true, Ordering::Relaxed);
        let RemoteContent { content_type, filename, body } = content;
        let received = files.receive(body, config.remote_bytes_max).await;
        let received = received.map_err(|broken| match broken {
            Broken::TooLarge => Error::RemoteTooLarge,
            Broken::Sender(why) => Error::Remote(why),
            Broken::Ours(error) => error,
        })?;
        let file = files.finish(received).await?;
        let said = Upload { content_type, filename, bytes: None };
        let record = self.record_of(&file, said, None);
        let added = store.add(&server, &media_id, &file, &record).await;
        match self.settle(&file, added) {
            Ok(()) | Err(Error::CannotOverwrite) => Ok(Done::Stored),
            Err(error) => Err(error),
        }
    }
}

/// How many transfers there are: a server that is slow on purpose holds up its own.
pub(crate) struct Fetches {
    all: Arc<Semaphore>,
    by_server: Mutex<HashMap<OwnedServerName, Weak<Semaphore>>>,
}

impl Fetches {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), by_server: Mutex::default() }
    }

    /// Waits for its turn, which lasts until what is returned is dropped.
    async fn begin(&self, server: &ServerName) -> [OwnedSemaphorePermit; 2] {
        let of_server = self.of(server).acquire_owned().await;
        let of_all = Arc::clone(&self.all).acquire_owned().await;
        [of_server, of_all].map(|permit| permit.expect("the semaphores are not closed"))
    }

    fn of(&self, server: &ServerName) -> Arc<Semaphore> {
        let mut by_server = self.by_server.lock();
        if let Some(known) = by_server.get(server).and_then(Weak::upgrade) {
            return known;
        }
        // As many as there are flights at most, once those that have ended are forgotten.
        by_server.retain(|_, semaphore| semaphore.strong_count() > 0);
        let new = Arc::new(Semaphore::new(PER_SERVER));
        by_server.insert(server.to_owned(), Arc::downgrade(&new));
        new
    }
}

fn refused(error: RemoteError) -> Error {
    match error {
        RemoteError::NotFound => Error::NotFound,
        RemoteError::NotYetUploaded => Error::NotYetUploaded,
        RemoteError::TooLarge => Error::RemoteTooLarge,
        other => Error::Remote(other.to_string()),
    }
}
