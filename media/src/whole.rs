//! Whether the files are what the rows say, and which files a backup needs.

use std::{io, path::PathBuf};

use storage::{EngineError, Key as _, Record as _, Table as _};

use crate::{
    Media,
    store::{FileRecord, FilesTable},
};

/// What a check has found to be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub files: u64,
    pub bytes: u64,
}

impl Media {
    /// Reads every file and compares it with its row; fails at the first that is missing or
    /// damaged. Blocks. `progress` is told of each file.
    pub fn verify(&self, progress: &mut dyn FnMut(&Checked)) -> Result<Checked, String> {
        let mut checked = Checked::default();
        let store = &self.inner.store.0;
        let snapshot = store.snapshot().map_err(|error| error.to_string())?;
        let mut problem = None;
        let mut each = |key: &[u8], value: &[u8]| {
            match self.verify_file(key, value) {
                Ok(bytes) => {
                    checked = Checked { files: checked.files + 1, bytes: checked.bytes + bytes };
                    progress(&checked);
                }
                Err(error) => problem = Some(error),
            }
            problem.is_none()
        };
        let read = snapshot.for_each(FilesTable::NAME, &mut each);
        read.map_err(|error: EngineError| error.to_string())?;
        problem.map_or(Ok(checked), Err)
    }

    fn verify_file(&self, key: &[u8], value: &[u8]) -> Result<u64, String> {
        let name = String::decode(&mut &*key).map_err(|error| error.to_string())?;
        let row = FileRecord::from_bytes(&bytes::Bytes::copy_from_slice(value));
        let row = row.map_err(|error| format!("the row of file {name}: {error}"))?;
        let found = self.inner.files.checksum(&name).map_err(|error| format!("{name}: {error}"))?;
        match found {
            Some(found) if found == (row.bytes, row.checksum) => Ok(row.bytes),
            Some(_) => Err(format!("the media file {name} is damaged")),
            None => Err(format!("the media file {name} is missing")),
        }
    }

    /// Every file that content may be in, with its path below the directory of the media. Blocks.
    /// Files are never changed and never go away, so what a snapshot of the store names is there if
    /// the snapshot was taken before.
    pub fn files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let root = self.inner.files.root();
        let mut found = Vec::new();
        for directory in std::fs::read_dir(root)? {
            let directory = directory?;
            let below = directory.file_name().into_string().unwrap_or_default();
            // `tmp` is what is not settled.
            if below.len() != 2 || !directory.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(directory.path())? {
                let file = file?;
                let name = file.file_name().into_string().unwrap_or_default();
                found.push((format!("{below}/{name}"), file.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}
