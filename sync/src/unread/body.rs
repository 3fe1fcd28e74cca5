//! The text of an event, made ready for the patterns of very many users.

use std::borrow::Cow;

use super::glob::matches_words;

/// In lower case.
pub(super) struct Body {
    text: String,
    /// Where each word begins and ends, in the order of the words: most patterns are one word, and
    /// then it is looked up rather than searched for.
    words: Vec<(u32, u32)>,
}

impl Body {
    pub(super) fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        let mut words = words(&text);
        words.sort_unstable_by(|one, other| slice(&text, *one).cmp(slice(&text, *other)));
        words.dedup_by(|one, other| slice(&text, *one) == slice(&text, *other));
        Self { text, words }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether the pattern matches something between two word boundaries.
    pub(super) fn has(&self, pattern: &str) -> bool {
        let pattern = lower(pattern);
        if pattern.is_empty() || !pattern.bytes().all(is_of_word) {
            return matches_words(&self.text, &pattern);
        }
        let place = |word: &(u32, u32)| slice(&self.text, *word).cmp(&pattern);
        self.words.binary_search_by(place).is_ok()
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + size_of::<(u32, u32)>() * self.words.len()
    }
}

/// "any character not in the sets `[A-Z]`, `[a-z]`, `[0-9]` or `_`" is a boundary.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The longest runs of characters of words.
fn words(text: &str) -> Vec<(u32, u32)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        // An event has at most 65,536 bytes.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        match (is_of_word(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(begin)) => {
                words.push((begin, at));
                start = None;
            }
            _ => (),
        }
    }
    words
}

fn slice(text: &str, (start, end): (u32, u32)) -> &str {
    text.get(start as usize..end as usize).unwrap_or_default()
}

/// Most texts that are compared are in lower case already.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    let is_lower = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::{Body, matches_words};

    /// Looking up is only a quicker way to what searching finds.
    #[test]
    fn words_are_found_where_a_search_finds_them() {
        let texts = [
            "",
            "a",
            "The Ferry leaves at ten_past six",
            "ferry, Ferry; FERRY!",
            "ferry2 2ferry _ferry",
            "caféferry ferrycafé",
            "naïve K\u{212a}elvin İstanbul",
            "x ferry",
        ];
        let patterns = [
            "", "a", "ferry", "FERRY", "ferry2", "ten_past", "ten", "past", "_", "caf", "na", "ve",
            "k", "kk", "kelvin", "kkelvin", "i", "stanbul", "f*y", "fe?ry", "ten past", "é", "x",
        ];
        for text in texts {
            let body = Body::new(text);
            for pattern in patterns {
                let expected = matches_words(&text.to_lowercase(), &pattern.to_lowercase());
                assert_eq!(body.has(pattern), expected, "{pattern:?} in {text:?}");
            }
        }
        assert!(Body::new("meet at the Ferry.").has("ferry"));
        assert!(!Body::new("ferryman").has("ferry"));
    }
}
