//! Why content could not be had, stored or made smaller.

use std::time::Duration;

/// The store did not answer or did not accept a write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("There is no such content")]
    NotFound,
    /// An id was given out for it, and nothing has come yet.
    #[error("The content has not been uploaded yet")]
    NotYetUploaded,
    #[error("There is content under this id already")]
    CannotOverwrite,
    #[error("The id was created by another user")]
    NotYours,
    #[error("The content is larger than {0} bytes")]
    TooLarge(u64),
    /// What another server has is larger than what is fetched, or than what is decoded.
    #[error("The content of the other server is too large")]
    RemoteTooLarge,
    /// The image has more pixels than are decoded.
    #[error("The image is too large for a thumbnail")]
    ImageTooLarge,
    /// It is no image of a known format, or a damaged one.
    #[error("There can be no thumbnail of this: {0}")]
    NoThumbnail(String),
    /// Too much of this at once, by this user or by all.
    #[error("Too many requests")]
    Busy { retry_after: Duration },
    #[error("This is no URL that is looked at for users")]
    BadUrl,
    #[error("The other server gives no content: {0}")]
    Remote(String),
    /// The sender of an upload stopped in the middle, or was too slow.
    #[error("The content did not arrive: {0}")]
    Broken(String),
    /// The disk is nearly full.
    #[error("The server's disk is nearly full")]
    LowSpace,
    #[error("The file of the content: {0}")]
    File(String),
    #[error(transparent)]
    Store(StoreError),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::LowSpace,
            _ => Self::File(error.to_string()),
        }
    }
}

impl From<storage::ReadError> for Error {
    fn from(error: storage::ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl From<storage::CommitError> for Error {
    fn from(error: storage::CommitError) -> Self {
        match error {
            storage::CommitError::LowSpace => Self::LowSpace,
            other => Self::Store(other.into()),
        }
    }
}

/// The directory of the files, or the store, could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the media in {path}: {source}")]
    Directory { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}
