//! The data directory: one process at a time, and a small text file that says what is in it.
//!
//! The file is written last when a store is created or restored, so a directory that holds data
//! without it is one whose creation was interrupted.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::EngineKind;
use crate::store::{OpenError, SCHEMA_VERSION};

const MARK: &str = "meridian-store";
const MARK_PARTIAL: &str = "meridian-store.partial";
const LOCK: &str = "lock";

/// A data directory that this process alone uses, as long as the value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// What the text file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) engine: String,
    pub(crate) schema: u32,
    pub(crate) incarnation: u64,
    /// Of the databases that this one was restored from, oldest first.
    pub(crate) previous: Vec<u64>,
    /// Where the log ended when the store was last closed. If the engine comes up with less, it
    /// lost something, whatever it says itself.
    pub(crate) reached: u64,
}

impl Directory {
    /// Creates the directory if it is missing and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps its files.
    pub(crate) fn engine(&self, kind: EngineKind) -> PathBuf {
        self.path.join(kind.name())
    }

    /// Whether any engine has files here, finished or not.
    pub(crate) fn holds_data(&self) -> bool {
        self.path.join(MARK).exists()
            || [EngineKind::Fjall, EngineKind::Sled].iter().any(|kind| self.engine(*kind).exists())
    }

    /// What is in the directory, once it is known that this build with this engine can use it.
    pub(crate) fn mark_for(&self, wanted: EngineKind) -> Result<Option<Mark>, OpenError> {
        let Some(mark) = self.mark().map_err(|source| self.unusable(source))? else {
            return Ok(None);
        };
        if mark.schema != SCHEMA_VERSION {
            return Err(OpenError::UnknownSchema { path: self.path.clone(), found: mark.schema });
        }
        if mark.engine != wanted.name() {
            return Err(OpenError::OtherEngine {
                path: self.path.clone(),
                found: mark.engine,
                wanted: wanted.name().to_owned(),
            });
        }
        if !self.engine(wanted).exists() {
            let missing = format!("{MARK} is here but the data in {wanted}/ is gone");
            return Err(self.unusable(io::Error::new(io::ErrorKind::NotFound, missing)));
        }
        Ok(Some(mark))
    }

    pub(crate) fn unusable(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }

    fn mark(&self) -> io::Result<Option<Mark>> {
        match std::fs::read_to_string(self.path.join(MARK)) {
            Ok(text) => Mark::parse(&text).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{MARK} is damaged"))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes at an orderly end how far the log has come.
    pub(crate) fn note_reached(&self, position: u64) -> Result<(), OpenError> {
        match self.mark().map_err(|source| self.unusable(source))? {
            Some(mark) if mark.reached != position => {
                self.write_mark(&Mark { reached: position, ..mark })
            }
            _ => Ok(()),
        }
    }

    /// Makes the directory a store. Whole or not at all, whenever the power fails.
    pub(crate) fn write_mark(&self, mark: &Mark) -> Result<(), OpenError> {
        self.try_write_mark(mark).map_err(|source| self.unusable(source))
    }

    fn try_write_mark(&self, mark: &Mark) -> io::Result<()> {
        let partial = self.path.join(MARK_PARTIAL);
        let mut file = File::create(&partial)?;
        file.write_all(mark.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, self.path.join(MARK))?;
        File::open(&self.path)?.sync_all()
    }
}

impl Mark {
    pub(crate) fn new(engine: EngineKind, incarnation: u64, previous: Vec<u64>) -> Self {
        let (engine, schema) = (engine.name().to_owned(), SCHEMA_VERSION);
        Self { engine, schema, incarnation, previous, reached: 0 }
    }

    fn text(&self) -> String {
        let previous: Vec<_> = self.previous.iter().map(u64::to_string).collect();
        format!(
            "# A Meridian data store. Copying this directory while the server runs is no backup:\n\
             # use `meridian backup`.\n\
             engine = {}\nschema = {}\nincarnation = {}\nprevious = {}\nreached = {}\n",
            self.engine,
            self.schema,
            self.incarnation,
            previous.join(" "),
            self.reached,
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
        };
        let previous = value("previous")?.split_whitespace().map(|word| word.parse().ok());
        Some(Self {
            engine: value("engine")?.to_owned(),
            schema: value("schema")?.parse().ok()?,
            incarnation: value("incarnation")?.parse().ok()?,
            previous: previous.collect::<Option<_>>()?,
            reached: value("reached")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineKind, Mark};

    #[test]
    fn what_is_written_is_read_back() {
        for previous in [vec![], vec![7], vec![u64::MAX, 0, 3]] {
            let mark = Mark::new(EngineKind::Fjall, 42, previous);
            assert_eq!(Mark::parse(&mark.text()), Some(mark));
        }
    }

    #[test]
    fn a_cut_off_file_is_not_believed() {
        let text = Mark::new(EngineKind::Sled, 42, vec![1, 2]).text();
        let cut = text.find("incarnation").expect("the field is written");
        assert_eq!(Mark::parse(&text[..cut]), None);
    }
}
