//! The handle that other crates hold.

use std::sync::Arc;

use rooms::Rooms;
use storage::Store;

use crate::store::DirectoryStore;

/// The index of users, and who follows the log for it. Cheap to clone.
#[derive(Clone)]
pub struct UserDirectory {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: DirectoryStore,
    pub(crate) rooms: Rooms,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
}

impl UserDirectory {
    /// Nothing is indexed until somebody runs [`follow`](Self::follow).
    pub fn new(store: Store, rooms: Rooms) -> Self {
        Self { inner: Arc::new(Inner { store: DirectoryStore(store), rooms }) }
    }
}
