//! Why pushers were not read or changed.

/// A failure of the operations on pushers.
#[derive(Debug, thiserror::Error)]
pub enum PusherError {
    #[error("Invalid pusher: {0}")]
    Invalid(String),
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
}
