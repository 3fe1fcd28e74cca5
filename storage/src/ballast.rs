//! A full disk must not take the store with it: a low-water mark and a file to sacrifice.
//!
//! Below the mark writes are refused and reads go on. The ballast is space that nobody else can
//! use; it is given up when the store could not be opened otherwise.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::time::Instant;

use crate::store::{Config, DEFAULT_LOW_WATER_BYTES};

/// How old the known free space may be. At 100 MB/s a disk loses a fifth of the default mark.
const CHECK_EVERY_MS: u64 = 1000;
const BALLAST: &str = "ballast";

/// The file system as the guard sees it.
pub(crate) trait Disk: Send + Sync {
    fn space(&self) -> io::Result<Space>;
    /// Milliseconds since some fixed moment.
    fn elapsed_ms(&self) -> u64;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

struct FileSystem {
    path: PathBuf,
    start: Instant,
}

impl Disk for FileSystem {
    fn space(&self) -> io::Result<Space> {
        let found = statvfs(&self.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    fn elapsed_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// Watches the free space of the data directory.
pub(crate) struct DiskGuard {
    /// `None` for a store that is not on a disk.
    watched: Option<Watched>,
}

struct Watched {
    disk: Box<dyn Disk>,
    low_water: u64,
    ballast: PathBuf,
    ballast_bytes: u64,
    low: AtomicBool,
    next_check_ms: AtomicU64,
}

impl DiskGuard {
    pub(crate) fn unlimited() -> Self {
        Self { watched: None }
    }

    pub(crate) fn new(config: &Config) -> Self {
        let disk = FileSystem { path: config.path.clone(), start: Instant::now() };
        Self::over(Box::new(disk), config)
    }

    fn over(disk: Box<dyn Disk>, config: &Config) -> Self {
        let mut low_water = config.low_water_bytes;
        if low_water == DEFAULT_LOW_WATER_BYTES {
            // Somebody who sets a mark means it; the default must not make a small disk useless.
            let total = disk.space().map_or(u64::MAX, |space| space.total);
            low_water = low_water.min(total / 20);
        }
        let watched = Watched {
            disk,
            low_water,
            ballast: config.path.join(BALLAST),
            ballast_bytes: config.ballast_bytes,
            low: AtomicBool::new(false),
            next_check_ms: AtomicU64::new(0),
        };
        Self { watched: Some(watched) }
    }

    /// Looks at the disk at most once per interval, whoever asks; otherwise it is one atomic read.
    pub(crate) fn is_low(&self) -> bool {
        let Some(watched) = &self.watched else { return false };
        let (now, due) = (watched.disk.elapsed_ms(), watched.next_check_ms.load(Ordering::Relaxed));
        if watched.low_water > 0 && now >= due {
            let next = now + CHECK_EVERY_MS;
            let order = Ordering::Relaxed;
            if watched.next_check_ms.compare_exchange(due, next, order, order).is_ok() {
                watched.check();
            }
        }
        watched.low.load(Ordering::Relaxed)
    }

    /// Makes sure that the ballast is there, if there is room for it.
    pub(crate) fn take_ballast(&self) {
        let Some(watched) = &self.watched else { return };
        if let Err(error) = watched.take_ballast() {
            tracing::warn!(%error, "no ballast file: a full disk may keep the store from opening");
        }
    }

    /// Gives up the ballast if the disk is nearly full. `false` if that cannot help.
    pub(crate) fn sacrifice_ballast(&self) -> bool {
        let Some(watched) = &self.watched else { return false };
        let nearly_full = watched.low_water.max(watched.ballast_bytes);
        match watched.disk.space() {
            Ok(space) if space.free < nearly_full => std::fs::remove_file(&watched.ballast).is_ok(),
            _ => false,
        }
    }
}

impl Watched {
    fn check(&self) {
        let Ok(space) = self.disk.space() else { return };
        let low = space.free < self.low_water;
        if self.low.swap(low, Ordering::Relaxed) == low {
            return;
        }
        let (free, mark) = (space.free, self.low_water);
        if low {
            tracing::error!(free, mark, "the disk is nearly full: writes are refused");
        } else {
            tracing::info!(free, mark, "there is space again: writes are accepted");
        }
    }

    fn take_ballast(&self) -> io::Result<()> {
        if self.ballast_bytes == 0 {
            return remove_if_there(&self.ballast);
        }
        let file = File::options().create(true).truncate(false).write(true).open(&self.ballast)?;
        if file.metadata()?.len() == self.ballast_bytes {
            return Ok(());
        }
        if self.disk.space()?.free < self.low_water.saturating_add(self.ballast_bytes) {
            drop(file);
            remove_if_there(&self.ballast)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(0)?;
        let allocated = fallocate(&file, FallocateFlags::empty(), 0, self.ballast_bytes);
        if allocated.is_err() {
            // A file with holes would take up nothing.
            remove_if_there(&self.ballast)?;
        }
        Ok(allocated?)
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "ballast/tests.rs"]
mod tests;
