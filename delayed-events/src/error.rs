//! Why something was not done, and why an event was not sent when its time had come.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such delayed event")]
    NotFound,
    /// It was sent or cancelled before, and what is asked for is the opposite.
    #[error("the delayed event has been sent or cancelled already")]
    Finalised,
    #[error("the delayed event is being sent")]
    Sending,
    #[error("an event is delayed by {} ms at most", .0.as_millis())]
    TooLong(Duration),
    /// The time until the next of the user's delayed events is sent.
    #[error("the maximum number of delayed events has been reached")]
    TooMany(Duration),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the content is too large for an event")]
    TooLarge,
    /// What the room says to the event now.
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Accounts(#[from] accounts::StoreError),
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

/// Why the room did not take an event when its time had come. The edge knows the error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    Forbidden,
    Suspended,
    NotFound,
    BadJson,
    InvalidParam,
    TooLarge,
    Other,
}

impl Failure {
    /// `None` if it is no fault of the event's, and may pass.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        use rooms::Error as E;
        Some(match error {
            Error::Rooms(error) => match error {
                E::Forbidden(_) | E::NotJoined | E::GuestsForbidden => Self::Forbidden,
                E::NotFound(_) => Self::NotFound,
                E::BadJson(_) => Self::BadJson,
                E::InvalidParam(_) => Self::InvalidParam,
                E::TooLarge(_) => Self::TooLarge,
                E::LowSpace | E::Internal(_) => return None,
                _ => Self::Other,
            },
            Error::Forbidden(_) => Self::Suspended,
            Error::Accounts(_) | Error::Read(_) | Error::Commit(_) => return None,
            _ => Self::Other,
        })
    }
}
