//! Canonical JSON: one parser and one writer for every room version.
//!
//! From version 6 on numbers are integers of at most 53 bits; before, a number keeps the text it
//! came with, since that text is what its sender hashed and signed. A repeated key counts once,
//! with its last value.

mod parse;
mod value;

pub(crate) use self::{
    parse::{canonicalise_deep, parse_within},
    value::{Object, ObjectWriter, Value, write_string},
};

/// Nested objects and arrays that an event may have, its own braces included: what the deployed
/// servers accept.
pub const MAX_LEVELS: usize = 127;

/// 2^53 - 1, the largest integer of canonical JSON.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// How numbers are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Integers in the range of canonical JSON; anything else is refused.
    Strict,
    /// Any JSON number, carried as the text it came with.
    AsText,
}

/// Why text is not JSON of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not UTF-8")]
    Utf8,
    #[error("malformed at byte {0}")]
    Syntax(usize),
    #[error("nested deeper than {MAX_LEVELS} levels")]
    TooDeep,
    #[error("more than {0} values")]
    TooMany(usize),
    #[error("`{0}` is not an integer as canonical JSON wants it")]
    NotInteger(String),
    #[error("`{0}` is out of the range of canonical JSON")]
    OutOfRange(String),
}

/// The canonical form of `json`.
pub fn canonicalise(json: &[u8], numbers: Numbers) -> Result<Vec<u8>, JsonError> {
    let text = str::from_utf8(json).map_err(|_| JsonError::Utf8)?;
    let mut out = Vec::with_capacity(text.len());
    parse_within(text, numbers, MAX_LEVELS)?.write(&mut out);
    Ok(out)
}
