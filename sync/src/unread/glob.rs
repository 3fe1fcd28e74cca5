//! Glob-style patterns ([spec]), in time that grows with the length of the text and of the pattern
//! and with nothing else: both come from strangers, and some were made to be slow.
//!
//! [spec]: https://spec.matrix.org/v1.19/appendices/#glob-style-matching

use std::collections::HashMap;

/// What the states of a pattern are kept in.
type Bits = Vec<u64>;

/// "The match is performed case-insensitively": both are in lower case.
pub(super) fn matches_all(text: &str, pattern: &str) -> bool {
    match has_wildcards(pattern) {
        true => Glob::new(pattern).run(text, |_| false, |_, rest| rest.is_none()),
        false => text == pattern,
    }
}

/// Whether the pattern matches "any substring of the value of the property which starts and ends at
/// a word boundary".
pub(super) fn matches_words(text: &str, pattern: &str) -> bool {
    if pattern.is_empty() {
        return false;
    }
    if !has_wildcards(pattern) {
        return has_words(text, pattern);
    }
    let starts = |around: Around| is_boundary(around);
    let ends =
        |last: Option<char>, next: Option<char>| is_boundary(Around { before: next, after: last });
    Glob::new(pattern).run(text, starts, ends)
}

fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// A place in a text.
#[derive(Clone, Copy)]
struct Around {
    /// The character outside.
    before: Option<char>,
    /// The character inside.
    after: Option<char>,
}

/// "A word boundary is defined as the start or end of the value, or any character not in the sets".
fn is_boundary(Around { before, after }: Around) -> bool {
    let is_word =
        |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric() || char == '_');
    !is_word(before) || !is_word(after)
}

fn has_words(text: &str, words: &str) -> bool {
    let mut from = 0;
    while let Some(found) = text[from..].find(words) {
        let (start, end) = (from + found, from + found + words.len());
        let left =
            Around { before: text[..start].chars().next_back(), after: words.chars().next() };
        let right = Around { before: text[end..].chars().next(), after: words.chars().next_back() };
        if is_boundary(left) && is_boundary(right) {
            return true;
        }
        from = start + words.chars().next().map_or(1, char::len_utf8);
    }
    false
}

/// An automaton whose states are the places in the pattern, each a bit.
struct Glob {
    /// Characters of the pattern without stars.
    len: usize,
    /// States that a character leads on from.
    on: HashMap<char, Bits>,
    /// States that any character leads on from.
    on_any: Bits,
    /// States that stay whatever comes.
    stars: Bits,
}

impl Glob {
    fn new(pattern: &str) -> Self {
        let len = pattern.chars().filter(|char| *char != '*').count();
        let words = len / 64 + 1;
        let none = vec![0; words];
        let (mut on, mut on_any, mut stars) = (HashMap::new(), none.clone(), none.clone());
        let mut at = 0;
        for char in pattern.chars() {
            let bits = match char {
                '*' => &mut stars,
                '?' => &mut on_any,
                char => on.entry(char).or_insert_with(|| none.clone()),
            };
            bits[at / 64] |= 1 << (at % 64);
            at += usize::from(char != '*');
        }
        Self { len, on, on_any, stars }
    }

    /// `starts` says where in the text a match may begin, besides its start; `ends` whether it may
    /// end between two characters.
    fn run(
        &self,
        text: &str,
        starts: impl Fn(Around) -> bool,
        ends: impl Fn(Option<char>, Option<char>) -> bool,
    ) -> bool {
        let mut states: Bits = vec![0; self.stars.len()];
        states[0] = 1;
        let is_done = |states: &Bits| states[self.len / 64] >> (self.len % 64) & 1 == 1;
        let mut chars = text.chars().peekable();
        let mut last = None;
        loop {
            let next = chars.peek().copied();
            if is_done(&states) && ends(last, next) {
                return true;
            }
            let Some(char) = chars.next() else { return false };
            if last.is_some() && starts(Around { before: last, after: Some(char) }) {
                states[0] |= 1;
            }
            self.step(&mut states, char);
            last = Some(char);
        }
    }

    fn step(&self, states: &mut Bits, char: char) {
        let on = self.on.get(&char);
        let mut carry = 0;
        for (word, state) in states.iter_mut().enumerate() {
            let leads = self.on_any[word] | on.map_or(0, |on| on[word]);
            let moved = *state & leads;
            *state = (*state & self.stars[word]) | (moved << 1) | carry;
            carry = moved >> 63;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{matches_all, matches_words};

    #[test]
    fn the_examples_of_the_specification() {
        for (text, pattern, expected) in [
            ("lunch plans", "lunc?*", true),
            ("lunch", "lunc?*", true),
            (" lunch", "lunc?*", false),
            ("lunc", "lunc?*", false),
            ("", "*", true),
            ("", "?", false),
            ("", "", true),
            ("m.notice", "m.notice", true),
            ("m.notice", "m.not", false),
        ] {
            assert_eq!(matches_all(text, pattern), expected, "{text:?} {pattern:?}");
        }
        for (text, pattern, expected) in [
            ("an example event.", "ex*ple", true),
            ("exple", "ex*ple", true),
            ("an exciting triple-whammy", "ex*ple", true),
            ("an exciting triplet", "ex*ple", false),
            ("examples", "example", false),
            ("an example", "example", true),
            ("example_", "example", false),
            ("(example)", "example", true),
            ("ba ba ba a", "a", true),
            ("ba ba ba", "a", false),
            ("aaa", "aa", false),
            ("héllo", "llo", true),
            ("a!b", "!", true),
            ("anything", "", false),
            ("x", "*", true),
            ("one two three", "t??", true),
            ("one three", "t??", false),
        ] {
            assert_eq!(matches_words(text, pattern), expected, "{text:?} {pattern:?}");
        }
    }

    #[test]
    fn what_was_made_to_be_slow_is_not() {
        let text = "ba ".repeat(20_000);
        assert!(!matches_words(&text, "a"));
        assert!(!matches_words(&text, &format!("{}z", "*a".repeat(500))));
        assert!(!matches_all(&text, &format!("{}c", "*a?".repeat(300))));
    }

    /// As a person would write it.
    fn slow(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| slow(&text[skip..], rest)),
            Some(('?', rest)) => !text.is_empty() && slow(&text[1..], rest),
            Some((char, rest)) => text.first() == Some(char) && slow(&text[1..], rest),
        }
    }

    fn slow_words(text: &[char], pattern: &[char]) -> bool {
        let is_word = |char: Option<&char>| {
            char.is_some_and(|char| char.is_ascii_alphanumeric() || *char == '_')
        };
        let outside = |at: Option<usize>| at.and_then(|at| text.get(at));
        !pattern.is_empty()
            && (0..=text.len()).any(|start| {
                (start..=text.len()).any(|end| {
                    let part = &text[start..end];
                    let left = !is_word(outside(start.checked_sub(1))) || !is_word(text.get(start));
                    let right =
                        !is_word(outside(Some(end))) || !is_word(outside(end.checked_sub(1)));
                    left && right && slow(part, pattern)
                })
            })
    }

    proptest! {
        #[test]
        fn it_is_what_it_says(text in "[ab _é]{0,8}", pattern in "[ab é*?]{0,6}") {
            let (chars, glob): (Vec<_>, Vec<_>) = (text.chars().collect(), pattern.chars().collect());
            prop_assert_eq!(matches_all(&text, &pattern), slow(&chars, &glob));
            prop_assert_eq!(matches_words(&text, &pattern), slow_words(&chars, &glob));
        }
    }
}
