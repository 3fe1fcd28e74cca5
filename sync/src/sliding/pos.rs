//! `pos`: which version of a connection's state, whose connection, and the moment on the streams.
//!
//! `<version>.<owner>.<lists>/<sync token>`. Version 0 has no state: a connection that only ever asked for
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
    /// See [`counted`]. `None` in what an older build gave out.
    pub(crate) lists: Option<u64>,
    pub(crate) token: Token,
}

impl Pos {
    pub(crate) fn parse(text: &str) -> Result<Self, SyncError> {
        // Numbers can be written in other ways, but not by this server.
        let own = Self::parse_parts(text).filter(|pos| pos.to_string() == text);
        own.ok_or(SyncError::UnknownPos)
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (connection, token) = text.split_once('/')?;
        let mut parts = connection.split('.');
        let version = parts.next()?;
        if !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let pos = Self {
            version: version.parse().ok()?,
            owner: hexadecimal(parts.next()?)?,
            lists: match parts.next() {
                Some(lists) => Some(hexadecimal(lists)?),
                None => None,
            },
            token: Token::parse(token).ok()?,
        };
        parts.next().is_none().then_some(pos)
    }
}

/// Digits only: `from_str_radix` would also take a sign.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.version, self.owner)?;
        if let Some(lists) = self.lists {
            write!(f, ".{lists:x}")?;
        }
        write!(f, "/{}", self.token)
    }
}

/// Tells connections of different users, devices and names apart. Not a secret: it keeps a `pos`
/// that strayed from being taken for one's own.
pub(crate) fn owner(parts: [&str; 3]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    hash(bytes)
}

/// Tells whether the lists still have as many rooms as the client was told: a room that leaves a
/// list leaves nothing else behind.
pub(crate) fn counted<'a>(lists: impl Iterator<Item = (&'a str, usize)>) -> u64 {
    hash(
        lists.flat_map(|(name, count)| {
            name.bytes().chain([0xff]).chain((count as u64).to_be_bytes())
        }),
    )
}

/// FNV-1a, since it must be the same in every build.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{Pos, counted, owner};
    use crate::Token;

    #[test]
    fn a_pos_reads_back_and_nothing_else_is_one() {
        let token =
            Token { incarnation: 7, durable: 9, to_device: 9, boot: 1, typing: 2, presence: 3 };
        for lists in [None, Some(0xbeef)] {
            let pos = Pos { version: 12, owner: 0xfeed, lists, token };
            assert_eq!(Pos::parse(&pos.to_string()).expect("own form"), pos);
        }
        let junk = ["", "5", "5/s1", "m1_7_9_1_2.3", "1/m1_7_9_1_2.3", "+1.f/m1_7_9_1_2.3"];
        let more =
            ["1.+f/m1_7_9_1_2.3", "1.f/m1_7_9_1_2.3/", "99999999999999999999.f/m1_7_9_1_2.3"];
        let lists = ["1.f./m1_7_9_1_2.3", "1.f.g/m1_7_9_1_2.3", "1.f.2.3/m1_7_9_1_2.3"];
        let other = ["01.f/m1_7_9_1_2.3", "1.F/m1_7_9_1_2.3", "1.f/m1_7_9_1_2.03"];
        for text in junk.into_iter().chain(more).chain(lists).chain(other) {
            assert!(Pos::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_and_counts_of_lists_are_kept_apart() {
        let of = |lists: &[(&str, usize)]| counted(lists.iter().copied());
        assert_eq!(of(&[("a", 1), ("b", 2)]), of(&[("a", 1), ("b", 2)]));
        for other in [&[("a", 2), ("b", 1)][..], &[("a", 1)], &[("ab", 1), ("", 2)], &[]] {
            assert_ne!(of(&[("a", 1), ("b", 2)]), of(other), "{other:?}");
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(owner(["ab", "c", ""]), owner(["a", "bc", ""]));
        assert_ne!(owner(["a", "", "c"]), owner(["a", "c", ""]));
    }
}
