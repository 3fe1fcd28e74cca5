//! Files that belong to a store, in its dump: a file is one block or more, each with its path and a
//! piece of its content.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use super::{
    DumpError, Progress,
    format::{BLOCK_BYTES, BlockWriter, Kind, push_bytes, take_bytes},
};

/// A file to be kept with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Relative, with `/` between names; where the file goes below a directory at restoration.
    pub name: String,
    pub path: PathBuf,
}

pub(super) fn write_file(
    attachment: &Attachment,
    writer: &mut BlockWriter,
    io: impl Fn(io::Error) -> DumpError + Copy,
    done: &mut Progress,
) -> Result<(), DumpError> {
    let unread = |source| DumpError::Io { path: attachment.path.clone(), source };
    let file = File::open(&attachment.path).map_err(unread)?;
    let mut block = Vec::new();
    push_bytes(&mut block, attachment.name.as_bytes());
    let empty = block.len();
    let mut is_first = true;
    loop {
        block.truncate(empty);
        let piece = (&file).take(BLOCK_BYTES as u64).read_to_end(&mut block);
        let is_end = piece.map_err(unread)? == 0;
        // An empty file is one block with nothing in it.
        if is_end && !is_first {
            done.files += 1;
            return Ok(());
        }
        writer.block(Kind::File, &block).map_err(io)?;
        done.bytes += (block.len() - empty) as u64;
        is_first = false;
    }
}

/// The path and the piece in a block.
pub(super) fn parse_piece(payload: &[u8]) -> Option<(&str, &[u8])> {
    let mut input = payload;
    let name = str::from_utf8(take_bytes(&mut input)?).ok()?;
    let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    (is_inside && !name.is_empty()).then_some((name, input))
}

/// Where files are restored to; what is not finished is taken away again.
pub(super) struct Restored {
    root: PathBuf,
    open: Option<(String, File)>,
    is_whole: bool,
}

impl Restored {
    /// The place must be empty, or not there.
    pub(super) fn new(root: &Path) -> Result<Self, DumpError> {
        let occupied = match std::fs::read_dir(root) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(DumpError::Io { path: root.to_owned(), source }),
        };
        if occupied {
            return Err(DumpError::NotEmpty(root.to_owned()));
        }
        Ok(Self { root: root.to_owned(), open: None, is_whole: false })
    }

    pub(super) fn piece(&mut self, name: &str, bytes: &[u8]) -> Result<(), DumpError> {
        let path = self.root.join(name);
        let io = |source| DumpError::Io { path: path.clone(), source };
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.close()?;
            let directory = path.parent().unwrap_or(&self.root);
            // For the owner only, whatever the directory is that they come into.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(io)?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            self.open = Some((name.to_owned(), file.map_err(io)?));
        }
        let (_, file) = self.open.as_mut().expect("it was opened above");
        file.write_all(bytes).map_err(io)
    }

    fn close(&mut self) -> Result<(), DumpError> {
        let Some((name, file)) = self.open.take() else { return Ok(()) };
        let path = self.root.join(name);
        let directory = path.parent().unwrap_or(&self.root);
        let on_disk = file.sync_all().and_then(|()| File::open(directory)?.sync_all());
        on_disk.map_err(|source| DumpError::Io { path, source })
    }

    /// Everything is on the disk.
    pub(super) fn finish(mut self) -> Result<(), DumpError> {
        self.close()?;
        if self.root.exists() {
            let path = self.root.clone();
            let on_disk = File::open(&path).and_then(|directory| directory.sync_all());
            on_disk.map_err(|source| DumpError::Io { path, source })?;
        }
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if !self.is_whole {
            let _left_behind = std::fs::remove_dir_all(&self.root);
        }
    }
}
