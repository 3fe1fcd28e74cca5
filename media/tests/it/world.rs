//! A repository whose data outlives it, and another server that says what a test wants.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use media::{
    Config, Content, Error, Media, MediaOf, Pieces, Upload,
    ports::{Fetching, RemoteContent, RemoteError, RemoteMedia},
};
use ruma::{ServerName, UserId, server_name, user_id};
use stdx::{ManualClock, Rng, Tasks};
use storage::{EngineKind, Store};
use tokio::sync::Notify;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn us() -> &'static ServerName {
    server_name!("x.test")
}

pub(crate) fn ada() -> &'static UserId {
    user_id!("@ada:x.test")
}

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) media: Media,
    tasks: Tasks,
    store: Store,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::over(directory, ManualClock::new(1_700_000_000_000), change).await
    }

    async fn over(
        directory: tempfile::TempDir,
        clock: Arc<ManualClock>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let at = storage::Config::at(EngineKind::Fjall, directory.path().join("store"));
        let at = storage::Config { low_water_bytes: 0, ballast_bytes: 0, ..at };
        let store = Store::open(&at, 1).expect("the store opens");
        let mut config = Config::at(directory.path().join("media"));
        change(&mut config);
        let tasks = Tasks::new();
        let pieces = Pieces {
            store: store.clone(),
            clock: clock.clone(),
            rng: Rng::from_system(),
            tasks: tasks.clone(),
            server_name: us().to_owned(),
        };
        let media = Media::open(config, pieces).await.expect("the media open");
        Self { directory, clock, media, tasks, store }
    }

    /// The same data in a new process.
    pub(crate) async fn restart(self) -> Self {
        let Self { directory, clock, media, tasks, store } = self;
        tasks.shutdown().await;
        drop(media);
        store.close();
        drop(store);
        Self::over(directory, clock, |_| ()).await
    }

    pub(crate) async fn upload(&self, content_type: &str, content: impl Into<Bytes>) -> String {
        let upload = Upload { content_type: Some(content_type.to_owned()), ..Upload::default() };
        self.media.upload(ada(), upload, body(content)).await.expect("it is taken")
    }

    pub(crate) async fn get(&self, media_id: &str) -> Result<Content, Error> {
        self.media.download(own(media_id), Duration::ZERO).await
    }

    /// Everything that is below the directory of the media.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![self.directory.path().join("media")];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { left.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

pub(crate) fn own(media_id: &str) -> MediaOf<'_> {
    MediaOf { server: us(), media_id }
}

pub(crate) fn body(
    content: impl Into<Bytes>,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    let content = content.into();
    let pieces: Vec<_> = content.chunks(1000).map(Bytes::copy_from_slice).collect();
    stream::iter(pieces).map(Ok)
}

pub(crate) async fn read(content: Content) -> Vec<u8> {
    let expected = content.bytes;
    let pieces: Vec<Bytes> = content.into_stream().try_collect().await.expect("it can be read");
    let all = pieces.concat();
    assert_eq!(all.len() as u64, expected);
    all
}

/// Another server: how often it is asked, and what it says once it is let.
pub(crate) struct Elsewhere {
    pub(crate) asked: AtomicUsize,
    pub(crate) go: Notify,
    pub(crate) answer: fn(&str) -> Result<RemoteContent, RemoteError>,
}

impl Elsewhere {
    pub(crate) fn saying(answer: fn(&str) -> Result<RemoteContent, RemoteError>) -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), go: Notify::new(), answer })
    }
}

impl RemoteMedia for Elsewhere {
    fn download<'a>(
        &'a self,
        _server: &'a ServerName,
        media_id: &'a str,
        _wait: Duration,
    ) -> Fetching<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.go.notified().await;
            (self.answer)(media_id)
        })
    }

    fn page<'a>(&'a self, url: &'a str, _wait: Duration) -> Fetching<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { (self.answer)(url) })
    }
}
