//! Why a sync could not be answered.

/// A failure of [`Sync::v3`](crate::Sync::v3) or of a [`Connection`](crate::Connection).
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The text is not a token of this server's making.
    #[error("'since' is not a token that this server gave out")]
    InvalidToken,
    /// The `pos` is none of this connection, or was forgotten; the client starts over without one.
    #[error("'pos' is not a position that this server knows")]
    UnknownPos,
    /// Another request or stream has the connection of sliding sync now.
    #[error("another client has taken this one's place")]
    Superseded,
    /// The server is stopping; the client should come again with the same token.
    #[error("the server is shutting down")]
    Stopping,
    #[error(transparent)]
    Store(#[from] storage::ReadError),
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Accounts(#[from] accounts::StoreError),
    #[error(transparent)]
    Devices(#[from] devices::StoreError),
    #[error("{0}")]
    Internal(String),
}
