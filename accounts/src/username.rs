//! The grammar of new user names.

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    #[error("a user name must not be empty")]
    Empty,
    #[error("a user name may only contain a-z, 0-9 and ._=/+-")]
    Character,
    #[error("a user name must not start with _")]
    LeadingUnderscore,
    #[error("the user id would be longer than 255 bytes")]
    TooLong,
}
