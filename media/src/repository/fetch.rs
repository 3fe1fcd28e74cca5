//! Content of other servers: fetched once, however many ask for it, and kept like our own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ruma::{OwnedServerName, ServerName};

use super::{Inner, Media, Upload};
use crate::{
    error::Error,
    flights::{Done, Outcome},
    ports::{RemoteContent, RemoteError, RemoteMedia},
    receive::Broken,
    store::MediaRecord,
};

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
        let _slot = fetches.acquire().await.expect("the semaphore is not closed");
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

fn refused(error: RemoteError) -> Error {
    match error {
        RemoteError::NotFound => Error::NotFound,
        RemoteError::NotYetUploaded => Error::NotYetUploaded,
        RemoteError::TooLarge => Error::RemoteTooLarge,
        other => Error::Remote(other.to_string()),
    }
}
