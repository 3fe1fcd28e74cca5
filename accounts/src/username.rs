//! The grammar of new user names.

use ruma::{OwnedUserId, ServerName, UserId};

const USER_ID_BYTES_MAX: usize = 255;

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

/// The id of a user who may be made here by that name. As [`user_id`], without the names that
/// belong to bridges.
pub(crate) fn new_user_id(
    localpart: &str,
    server_name: &ServerName,
) -> Result<OwnedUserId, UsernameError> {
    let user_id = user_id(localpart, server_name)?;
    if localpart.starts_with('_') {
        return Err(UsernameError::LeadingUnderscore);
    }
    Ok(user_id)
}

/// The id of the user whom `localpart` names here. Upper case is lowered, as other servers do;
/// the historical grammar is not accepted.
pub(crate) fn user_id(
    localpart: &str,
    server_name: &ServerName,
) -> Result<OwnedUserId, UsernameError> {
    if localpart.is_empty() {
        return Err(UsernameError::Empty);
    }
    if localpart.len() + server_name.as_str().len() + 2 > USER_ID_BYTES_MAX {
        return Err(UsernameError::TooLong);
    }
    let localpart = localpart.to_ascii_lowercase();
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=/+-".contains(&byte);
    if !localpart.bytes().all(allowed) {
        return Err(UsernameError::Character);
    }
    UserId::parse(format!("@{localpart}:{server_name}")).map_err(|_| UsernameError::Character)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::{UsernameError, new_user_id, user_id};

    fn check(localpart: &str, expected: Result<&str, UsernameError>) {
        let found = new_user_id(localpart, server_name!("example.org"));
        assert_eq!(found.as_ref().map(|id| id.as_str()).map_err(|error| *error), expected);
    }

    #[test]
    fn names() {
        check("ada", Ok("@ada:example.org"));
        check("Ada.L=1/2+3-4_5", Ok("@ada.l=1/2+3-4_5:example.org"));
        check("", Err(UsernameError::Empty));
        check("_irc_ada", Err(UsernameError::LeadingUnderscore));
        let of_bridge = user_id("_irc_ada", server_name!("example.org"));
        assert_eq!(of_bridge.as_ref().map(|id| id.as_str()), Ok("@_irc_ada:example.org"));
        for junk in ["a b", "a\n", "a:b", "@a", "a\u{202e}b", "\u{430}da", "a\0", "a#b", "a%b"] {
            check(junk, Err(UsernameError::Character));
        }
        check(&"a".repeat(242), Ok(&format!("@{}:example.org", "a".repeat(242))));
        check(&"a".repeat(243), Err(UsernameError::TooLong));
    }
}
