//! Why an operation on a room was refused. Says nothing about HTTP; the edges translate.

use ruma::events::room::member::MembershipState;

use crate::ports::RemoteError;

/// Texts are for people: they end up in front of a user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The room, event, alias or state that was asked for does not exist, or the viewer may not
    /// know whether it does.
    #[error("{0} was not found")]
    NotFound(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("you are not in this room")]
    NotJoined,
    #[error("guests may not join this room")]
    GuestsForbidden,
    /// A restricted join for which no local member could vouch.
    #[error("no member of this server may let you into this room")]
    UnableToGrantJoin,
    /// A restricted join, and this server is not in the rooms that might allow it.
    #[error("this server cannot tell whether you may join this room")]
    UnableToAuthoriseJoin,
    #[error("{0}")]
    BadJson(String),
    /// An event lacks a signature that it needs, or has a wrong one.
    #[error("{0}")]
    BadSignature(String),
    #[error("{0}")]
    InvalidParam(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("room version {0:?} is not supported")]
    UnsupportedRoomVersion(String),
    /// The other server does not know the version of the room.
    #[error("the room has version {0:?}, which your server does not support")]
    IncompatibleRoomVersion(String),
    /// An alias in `m.room.canonical_alias` does not point to this room.
    #[error("{0}")]
    BadAlias(String),
    /// An event may not relate to another in this way.
    #[error("{0}")]
    BadRelation(String),
    #[error("you have already annotated the event in this way")]
    DuplicateAnnotation,
    #[error("the alias is already taken")]
    RoomInUse,
    /// The events that the request implies do not make a room.
    #[error("{0}")]
    InvalidRoomState(String),
    /// What the request wants to change has changed meanwhile.
    #[error("the membership is {current}, so this is not possible")]
    WrongMembership { current: MembershipState },
    /// Another server gave no answer, or said no.
    #[error("{0}")]
    Remote(#[from] RemoteError),
    #[error("the disk is nearly full; nothing can be written")]
    LowSpace,
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<storage::ReadError> for Error {
    fn from(error: storage::ReadError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<storage::CommitError> for Error {
    fn from(error: storage::CommitError) -> Self {
        match error {
            storage::CommitError::LowSpace => Self::LowSpace,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<events::AuthError> for Error {
    fn from(error: events::AuthError) -> Self {
        match error {
            events::AuthError::Forbidden(reason) => Self::Forbidden(reason),
            missing @ events::AuthError::MissingEvent(_) => Self::Internal(missing.to_string()),
        }
    }
}

/// Of events that others hand in.
impl From<events::FormatError> for Error {
    fn from(error: events::FormatError) -> Self {
        match error {
            events::FormatError::TooLarge => Self::TooLarge(error.to_string()),
            other => Self::BadJson(other.to_string()),
        }
    }
}

impl From<events::BuildError> for Error {
    fn from(error: events::BuildError) -> Self {
        match error {
            events::BuildError::TooLarge(reason) => Self::TooLarge(reason),
            events::BuildError::BadJson(reason) => Self::BadJson(reason),
            events::BuildError::Invalid(reason) => Self::InvalidParam(reason),
        }
    }
}
