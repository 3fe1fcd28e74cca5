//! What is done with content: ids given out, uploads, downloads, thumbnails.

mod fetch;
mod preview;
mod thumbnail;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use ruma::{OwnedServerName, ServerName, UserId};
use stdx::{Rng, SharedClock, Tasks};
use storage::Store;
use tokio::sync::Semaphore;

pub use self::preview::Preview;
use self::{fetch::Fetches, preview::Previews};
use crate::{
    disposition::{clean_name, clean_type},
    error::{Error, OpenError},
    files::{Content, Files},
    flights::Flights,
    pending::Pending,
    ports::RemoteMedia,
    receive::{Broken, Uploads},
    store::{MediaRecord, MediaStore, StoredFile},
    thumbnails::Method,
};

/// 131 bits: to know an id is to be able to read the content.
const ID_CHARS: usize = 22;
/// Ids of others are kept if they are no longer.
const ID_MAX: usize = 255;
/// Images that are decoded at the same time.
const THUMBNAILS: usize = 2;

#[derive(Clone, Debug)]
pub struct Config {
    /// Where the files are; created if it is not there. Not used over a store in memory, whose
    /// content is forgotten with it.
    pub directory: PathBuf,
    /// The largest upload, in bytes.
    pub upload_bytes_max: u64,
    /// The largest content of another server that is fetched, in bytes.
    pub remote_bytes_max: u64,
    /// Ids of one user that wait for content.
    pub pending_max: usize,
    /// How long an id waits.
    pub pending_for: Duration,
}

impl Config {
    pub fn at(directory: PathBuf) -> Self {
        Self {
            directory,
            upload_bytes_max: 50 << 20,
            remote_bytes_max: 100 << 20,
            pending_max: 10,
            pending_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

pub struct Pieces {
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
    pub tasks: Tasks,
    pub server_name: OwnedServerName,
}

/// The repository. Cheap to clone.
#[derive(Clone)]
pub struct Media {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    pub(crate) store: MediaStore,
    pub(crate) files: Files,
    clock: SharedClock,
    rng: Rng,
    server_name: OwnedServerName,
    pending: Pending,
    uploads: Uploads,
    flights: Flights,
    fetches: Fetches,
    previews: Previews,
    thumbnails: Arc<Semaphore>,
    remote: OnceLock<Arc<dyn RemoteMedia>>,
}

/// What is said about content by whoever uploads it.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub content_type: Option<String>,
    pub filename: Option<String>,
    /// How long it says that it will be.
    pub bytes: Option<u64>,
}

/// An id that waits for content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub media_id: String,
    /// Milliseconds since the epoch.
    pub unused_expires_at: u64,
}

/// Which content.
#[derive(Clone, Copy, Debug)]
pub struct MediaOf<'a> {
    pub server: &'a ServerName,
    pub media_id: &'a str,
}

/// A thumbnail of at least this size.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub width: u32,
    pub height: u32,
    pub method: Method,
}

impl Media {
    /// Settles what a crash left. Must be called within a Tokio runtime.
    pub async fn open(config: Config, pieces: Pieces) -> Result<Self, OpenError> {
        let Pieces { store, clock, rng, tasks, server_name } = pieces;
        let directory = config.directory.clone();
        let io = |source| OpenError::Directory { path: directory.clone(), source };
        let files = if store.engine_name() == "memory" {
            Files::forgetful(rng.clone())
        } else {
            Files::at(config.directory.clone(), rng.clone())
        };
        let (files, store) = (files.map_err(io)?, MediaStore(store));
        let unread = |error: Error| io(std::io::Error::other(error.to_string()));
        for name in files.unsettled().map_err(io)? {
            let has_row = store.knows_file(&name).await.map_err(unread)?;
            files.settle(&name, has_row).map_err(io)?;
        }
        let pending = Pending::load(store.pending().await.map_err(unread)?);
        let inner = Inner {
            config,
            store,
            files,
            clock,
            rng,
            flights: Flights::new(tasks),
            server_name,
            pending,
            uploads: Uploads::new(),
            fetches: Fetches::new(),
            previews: Previews::new(),
            thumbnails: Arc::new(Semaphore::new(THUMBNAILS)),
            remote: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says how content of other servers is had. Until then there is none.
    pub fn set_remote(&self, remote: Arc<dyn RemoteMedia>) {
        let _set_before = self.inner.remote.set(remote);
    }

    pub fn upload_bytes_max(&self) -> u64 {
        self.inner.config.upload_bytes_max
    }

    /// A line between parts of a body, which none of them has in it.
    pub fn boundary(&self) -> String {
        self.inner.rng.alphanumeric(ID_CHARS)
    }

    /// An id for content that is uploaded later: `POST /create`.
    pub async fn create(&self, user: &UserId) -> Result<Created, Error> {
        let Inner { config, store, clock, rng, pending, .. } = &*self.inner;
        let media_id = rng.alphanumeric(ID_CHARS);
        let now = clock.now_ms();
        let lives = u64::try_from(config.pending_for.as_millis()).unwrap_or(u64::MAX);
        let expires = now.saturating_add(lives);
        let expired = pending
            .reserve(user, &media_id, (now, expires), config.pending_max)
            .map_err(|wait| Error::Busy { retry_after: Duration::from_millis(wait.max(1)) })?;
        let added = store.add_pending(user, &media_id, expires, &expired).await;
        if let Err(error) = added {
            pending.end(&media_id);
            return Err(error);
        }
        Ok(Created { media_id, unused_expires_at: expires })
    }

    /// Takes content under a new id, which is returned once it is on the disk.
    pub async fn upload<E: std::fmt::Display>(
        &self,
        user: &UserId,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<String, Error> {
        let media_id = self.inner.rng.alphanumeric(ID_CHARS);
        let _counted = self.inner.uploads.begin(user)?;
        self.take(Some(user), &media_id, upload, body).await?;
        Ok(media_id)
    }

    /// Takes content under an id of [`Media::create`].
    pub async fn upload_to<E: std::fmt::Display>(
        &self,
        user: &UserId,
        media: MediaOf<'_>,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), Error> {
        let Inner { store, clock, pending, server_name, .. } = &*self.inner;
        let MediaOf { server, media_id } = media;
        if server != server_name || !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        if !pending.may_upload(user, media_id, clock.now_ms())? {
            let found = store.media(server, media_id).await?.ok_or(Error::NotFound)?;
            let is_theirs = found.uploader.as_deref() == Some(user.as_str());
            return Err(if is_theirs { Error::CannotOverwrite } else { Error::NotYours });
        }
        let _counted = self.inner.uploads.begin(user)?;
        let taken = self.take(Some(user), media_id, upload, body).await;
        if matches!(taken, Ok(()) | Err(Error::CannotOverwrite)) {
            pending.end(media_id);
        }
        taken
    }

    async fn take<E: std::fmt::Display>(
        &self,
        user: Option<&UserId>,
        media_id: &str,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), Error> {
        let Inner { config, files, store, server_name, .. } = &*self.inner;
        let max = config.upload_bytes_max;
        if upload.bytes.is_some_and(|bytes| bytes > max) {
            return Err(Error::TooLarge(max));
        }
        if store.0.is_low_on_space() {
            return Err(Error::LowSpace);
        }
        let received = files.receive(body, max).await.map_err(|broken| match broken {
            Broken::TooLarge => Error::TooLarge(max),
            Broken::Sender(why) => Error::Broken(why),
            Broken::Ours(error) => error,
        })?;
        let file = files.finish(received).await?;
        let record = self.record_of(&file, upload, user);
        let added = store.add(server_name, media_id, &file, &record).await;
        self.settle(&file, added)
    }

    fn record_of(&self, file: &StoredFile, upload: Upload, user: Option<&UserId>) -> MediaRecord {
        MediaRecord {
            uploader: user.map(|user| user.as_str().to_owned()),
            created_ts: self.inner.clock.now_ms(),
            content_type: clean_type(upload.content_type),
            filename: clean_name(upload.filename),
            file: file.name.clone(),
            bytes: file.bytes,
        }
    }

    /// After the commit of a file's row. One that may or may not be there is settled at the next
    /// start.
    fn settle(&self, file: &StoredFile, added: Result<(), Error>) -> Result<(), Error> {
        let has_row = match &added {
            Ok(()) => true,
            Err(Error::CannotOverwrite | Error::LowSpace) => false,
            Err(_) => return added,
        };
        if let Err(error) = self.inner.files.settle(&file.name, has_row) {
            tracing::warn!(%error, file = file.name, "a file is not settled before the next start");
        }
        added
    }

    /// Content of this server, or of another one, which is fetched if it is not here. If it has not
    /// been uploaded yet, waits for it as long as `wait`.
    pub async fn download(&self, media: MediaOf<'_>, wait: Duration) -> Result<Content, Error> {
        let record = self.find(media, wait).await?;
        self.open_file(&record.file, record.bytes, record.content_type, record.filename).await
    }

    /// A thumbnail of the same; or the content itself, if that is an image which is not larger.
    pub async fn thumbnail(
        &self,
        media: MediaOf<'_>,
        wanted: Wanted,
        wait: Duration,
    ) -> Result<Content, Error> {
        let record = self.find(media, wait).await?;
        self.thumbnail_of(media, &record, wanted).await
    }

    async fn find(&self, media: MediaOf<'_>, wait: Duration) -> Result<MediaRecord, Error> {
        let MediaOf { server, media_id } = media;
        if !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        if *server == *self.inner.server_name {
            self.find_own(media_id, wait).await
        } else {
            self.find_remote(server, media_id, wait).await
        }
    }

    async fn find_own(&self, media_id: &str, wait: Duration) -> Result<MediaRecord, Error> {
        let Inner { store, clock, pending, server_name, .. } = &*self.inner;
        let Some(arrival) = pending.arrival(media_id, clock.now_ms()) else {
            return store.media(server_name, media_id).await?.ok_or(Error::NotFound);
        };
        let arrived = arrival.notified();
        tokio::pin!(arrived);
        // Before the row is looked for: it may come in between.
        arrived.as_mut().enable();
        if let Some(found) = store.media(server_name, media_id).await? {
            return Ok(found);
        }
        if tokio::time::timeout(wait, arrived).await.is_err() {
            return Err(Error::NotYetUploaded);
        }
        store.media(server_name, media_id).await?.ok_or(Error::NotFound)
    }

    async fn open_file(
        &self,
        name: &str,
        bytes: u64,
        content_type: Option<String>,
        filename: Option<String>,
    ) -> Result<Content, Error> {
        let file = tokio::fs::File::open(self.inner.files.path(name)).await?;
        Ok(Content { content_type, filename, bytes, file })
    }
}

/// "The media-id segment MUST consist of only alphanumeric, `_` and `-` characters".
fn is_media_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= ID_MAX && text.bytes().all(is_allowed)
}
