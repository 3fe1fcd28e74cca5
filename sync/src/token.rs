//! Sync tokens: opaque to clients, one text for every transport.
//!
//! `m1_<incarnation>_<durable>_<boot>_<typing>.<presence>`, and `_<to-device>` when to-device
//! messages lag behind the rest. The durable part survives restarts; typing and presence are
//! sequences of one run of the process, so they only count while `boot` is the same.

use std::fmt;

use smallvec::SmallVec;
use storage::Position;

use crate::SyncError;

/// A moment in what a user has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which database the positions belong to.
    pub incarnation: u64,
    /// Everything on the log up to here has been seen.
    pub durable: Position,
    /// To-device messages up to here have been seen; below `durable` when there were too many for
    /// one answer.
    pub to_device: Position,
    /// Which run of the process the volatile sequences belong to.
    pub boot: u64,
    pub typing: u64,
    pub presence: u64,
}

impl Token {
    /// Reads a token of any database and any run of a server like this one.
    pub fn parse(text: &str) -> Result<Self, SyncError> {
        Self::parse_parts(text).ok_or(SyncError::InvalidToken)
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("m1_")?.split('_');
        let incarnation = hexadecimal(parts.next()?)?;
        let durable = decimal(parts.next()?)?;
        let boot = hexadecimal(parts.next()?)?;
        let (typing, presence) = parts.next()?.split_once('.')?;
        let to_device = match parts.next() {
            Some(lagging) => decimal(lagging)?,
            None => durable,
        };
        let token = Self {
            incarnation,
            durable,
            to_device,
            boot,
            typing: decimal(typing)?,
            presence: decimal(presence)?,
        };
        parts.next().is_none().then_some(token)
    }
}

/// Digits only: `u64::from_str` would also take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { incarnation, durable, to_device, boot, typing, presence } = *self;
        // By hand: every answer has one or two, and formatting seven parts is what costs most of them.
        let mut text = Text::new();
        text.extend_from_slice(b"m1_");
        write_digits::<16>(&mut text, incarnation);
        text.push(b'_');
        write_digits::<10>(&mut text, durable);
        text.push(b'_');
        write_digits::<16>(&mut text, boot);
        text.push(b'_');
        write_digits::<10>(&mut text, typing);
        text.push(b'.');
        write_digits::<10>(&mut text, presence);
        if to_device != durable {
            text.push(b'_');
            write_digits::<10>(&mut text, to_device);
        }
        f.write_str(std::str::from_utf8(&text).expect("digits and marks are ASCII"))
    }
}

/// Room for the longest token.
type Text = SmallVec<[u8; 128]>;

fn write_digits<const RADIX: u64>(out: &mut Text, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b"0123456789abcdef"[(number % RADIX) as usize]);
        number /= RADIX;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_reads_back() {
        let mut token = Token {
            incarnation: u64::MAX,
            durable: 17,
            to_device: 17,
            boot: 0xAB,
            typing: 4,
            presence: u64::MAX,
        };
        assert_eq!(token.to_string(), "m1_ffffffffffffffff_17_ab_4.18446744073709551615");
        assert_eq!(Token::parse(&token.to_string()).expect("own form"), token);
        token.to_device = 12;
        assert_eq!(token.to_string(), "m1_ffffffffffffffff_17_ab_4.18446744073709551615_12");
        assert_eq!(Token::parse(&token.to_string()).expect("own form"), token);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "m1_",
            "m1_1_2_3",
            "m1_1_2_3_4",
            "m1_1_+2_3_4.5",
            "m1_1_-2_3_4.5",
            "m1_1_2_3_4.5_6_7",
            "m1_1_2_3_4.5_",
            "m1_g_2_3_4.5",
            "m1_1_99999999999999999999_3_4.5",
            "s72594_4483_1934",
            "t3_17",
            "m1_1_2_3_4.5 ",
            "m2_1_2_3_4.5",
            "m1_1_2_3_4.\u{661}",
        ] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
    }
}
