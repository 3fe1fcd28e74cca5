//! `pos`: which version of a connection's state, whose connection, and the moment on the streams.
//!
//! `<version>.<owner>/<sync token>`. Version 0 has no state: a connection that only ever asked for
//! what is no matter of rooms is never forgotten.

use std::fmt;

use crate::{SyncError, Token};

/// Version of a connection to which no room was told.
pub(crate) const STATELESS: u64 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pos {
    pub(crate) version: u64,
    /// See [`owner`].
    pub(crate) owner: u64,
    pub(crate) token: Token,
}

impl Pos {
    pub(crate) fn parse(text: &str) -> Result<Self, SyncError> {
        Self::parse_parts(text).ok_or(SyncError::UnknownPos)
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (connection, token) = text.split_once('/')?;
        let (version, owner) = connection.split_once('.')?;
        let digits = version.bytes().all(|byte| byte.is_ascii_digit());
        let hex = owner.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || !hex {
            return None;
        }
        Some(Self {
            version: version.parse().ok()?,
            owner: u64::from_str_radix(owner, 16).ok()?,
            token: Token::parse(token).ok()?,
        })
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}/{}", self.version, self.owner, self.token)
    }
}

/// Tells connections of different users, devices and names apart. Not a secret: it keeps a `pos`
/// that strayed from being taken for one's own (FNV-1a, since it must be the same in every build).
pub(crate) fn owner(parts: [&str; 3]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{Pos, owner};
    use crate::Token;

    #[test]
    fn a_pos_reads_back_and_nothing_else_is_one() {
        let token =
            Token { incarnation: 7, durable: 9, to_device: 9, boot: 1, typing: 2, presence: 3 };
        let pos = Pos { version: 12, owner: 0xfeed, token };
        assert_eq!(Pos::parse(&pos.to_string()).expect("own form"), pos);
        let junk = ["", "5", "5/s1", "m1_7_9_1_2.3", "1/m1_7_9_1_2.3", "+1.f/m1_7_9_1_2.3"];
        let more =
            ["1.+f/m1_7_9_1_2.3", "1.f/m1_7_9_1_2.3/", "99999999999999999999.f/m1_7_9_1_2.3"];
        for text in junk.into_iter().chain(more) {
            assert!(Pos::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(owner(["ab", "c", ""]), owner(["a", "bc", ""]));
        assert_ne!(owner(["a", "", "c"]), owner(["a", "c", ""]));
    }
}
