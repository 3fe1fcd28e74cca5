//! Why pushers were not read or changed.

/// A failure of the operations on pushers.
#[derive(Debug, thiserror::Error)]
pub enum PusherError {
    #[error("Invalid pusher: {0}")]
    Invalid(String),
    #[error("{0:?} is not a confirmed email address of the account")]
    NotOwnAddress(String),
    #[error(transparent)]
    Accounts(#[from] accounts::StoreError),
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
}

/// Why a pusher is not activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    #[error("the user has no Web Push pusher of this app")]
    NoPusher,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not known")]
    UnknownToken,
    #[error(transparent)]
    Pusher(#[from] PusherError),
}
