//! A full disk must not take the store with it: a low-water mark and a file to sacrifice.

/// Watches the free space of the data directory.
#[derive(Debug)]
pub(crate) struct DiskGuard;

impl DiskGuard {
    pub(crate) fn unlimited() -> Self {
        Self
    }

    pub(crate) fn is_low(&self) -> bool {
        false
    }
}
