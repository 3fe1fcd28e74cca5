//! The handle that other crates hold.

use std::sync::Arc;

use rooms::Rooms;
use storage::Store;

use crate::store::SearchStore;

/// The index of words, and who follows the log for it. Cheap to clone.
#[derive(Clone)]
pub struct Search {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: SearchStore,
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

impl Search {
    /// Nothing is indexed until somebody runs [`follow`](Self::follow).
    pub fn new(store: Store, rooms: Rooms) -> Self {
        Self { inner: Arc::new(Inner { store: SearchStore(store), rooms }) }
    }
}
