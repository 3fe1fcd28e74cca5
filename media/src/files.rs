//! The bytes of content, in files whose names are ours: nothing of a stranger's is part of a path.
//!
//! A file is written under `tmp/`, flushed, and gets a second name in its final place; that
//! directory is flushed too. Only then may a row name it. The first name goes once the row is on
//! disk. What is left under `tmp/` at the start tells which files have no row, so a crash leaves
//! nothing behind.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use stdx::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use xxhash_rust::xxh3::Xxh3;

use crate::{error::Error, store::StoredFile};

const TMP: &str = "tmp";
/// Read at a time.
const CHUNK: usize = 64 << 10;

pub(crate) struct Files {
    root: PathBuf,
    rng: Rng,
    /// Of a store that forgets everything at the end; so does this.
    forgets: bool,
}

impl Files {
    pub(crate) fn at(root: PathBuf, rng: Rng) -> io::Result<Self> {
        private(true).create(root.join(TMP))?;
        Ok(Self { root, rng, forgets: false })
    }

    pub(crate) fn forgetful(rng: Rng) -> io::Result<Self> {
        for number in 0.. {
            let name = format!("meridian-media-{}-{number}", std::process::id());
            let root = std::env::temp_dir().join(name);
            match private(false).create(&root) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    private(false).create(root.join(TMP))?;
                    return Ok(Self { root, rng, forgets: true });
                }
            }
        }
        unreachable!("numbers do not end")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory(name).join(name)
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name.get(..2).unwrap_or("__"))
    }

    fn tmp(&self, name: &str) -> PathBuf {
        self.root.join(TMP).join(name)
    }

    /// Files that a crash may have left without a row.
    pub(crate) fn unsettled(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(TMP))?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        names.collect()
    }

    /// Forgets the first name of a file, and the file if it has no row.
    pub(crate) fn settle(&self, name: &str, has_row: bool) -> io::Result<()> {
        if !has_row {
            remove(&self.path(name))?;
        }
        remove(&self.tmp(name))
    }

    pub(crate) async fn create(&self) -> Result<NewFile, Error> {
        let name: String =
            self.rng.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let tmp = self.tmp(&name);
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&tmp).await?;
        Ok(NewFile { file, name, tmp: Some(tmp), bytes: 0, hasher: Xxh3::new() })
    }

    /// Returns once the file is whole, has its final name, and both are on the disk.
    pub(crate) async fn finish(&self, mut new: NewFile) -> Result<StoredFile, Error> {
        new.file.flush().await?;
        new.file.sync_all().await?;
        let (tmp, place) = (self.tmp(&new.name), self.path(&new.name));
        let (directory, root) = (self.directory(&new.name), self.root.clone());
        let linked = tokio::task::spawn_blocking(move || {
            match private(false).create(&directory) {
                Ok(()) => File::open(&root)?.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            std::fs::hard_link(&tmp, &place)?;
            File::open(&directory)?.sync_all()
        });
        linked.await.map_err(|error| Error::File(error.to_string()))??;
        // From here on a crash, or a caller who goes away, is settled at the next start.
        new.tmp = None;
        let (bytes, checksum) = (new.bytes, new.hasher.digest());
        Ok(StoredFile { name: std::mem::take(&mut new.name), bytes, checksum })
    }

    /// The checksum of a file's content; `None` if there is no such file. Blocks.
    pub(crate) fn checksum(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        let mut file = match File::open(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (mut hasher, mut bytes, mut buffer) = (Xxh3::new(), 0, vec![0; CHUNK]);
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(Some((bytes, hasher.digest()))),
                read => {
                    hasher.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.forgets {
            let _left_behind = std::fs::remove_dir_all(&self.root);
        }
    }
}

/// For the owner only, like everything in the data directory.
fn private(recursive: bool) -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(recursive).mode(0o700);
    builder
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file that is being written. Gone if it is dropped before it is finished.
pub(crate) struct NewFile {
    file: tokio::fs::File,
    name: String,
    /// `None` once it is finished.
    tmp: Option<PathBuf>,
    pub(crate) bytes: u64,
    hasher: Xxh3,
}

impl NewFile {
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.file.write_all(chunk).await?;
        self.bytes += chunk.len() as u64;
        self.hasher.update(chunk);
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(tmp) = &self.tmp {
            let _left_behind = remove(tmp);
        }
    }
}

/// Content that is open for reading.
#[derive(Debug)]
pub struct Content {
    pub content_type: Option<String>,
    pub filename: Option<String>,
    pub bytes: u64,
    pub(crate) file: tokio::fs::File,
}

impl Content {
    /// The bytes, a piece at a time.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(self.file, |mut file| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let read = file.read_buf(&mut chunk).await?;
            Ok((read > 0).then(|| (chunk.freeze(), file)))
        })
    }
}
