//! The words that a text is made of.

use std::collections::BTreeMap;

/// Different words of a text that are indexed; a longer one is found by these.
const WORDS_MAX: usize = 300;
/// Of a word, this many characters are indexed and compared.
const WORD_CHARS_MAX: usize = 32;
/// Words of a search term that count.
const TERM_WORDS_MAX: usize = 8;

/// Scripts that are written without spaces: each character is found by itself.
fn stands_alone(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0E00..=0x0EFF      // Thai, Lao
        | 0x1000..=0x109F    // Myanmar
        | 0x1780..=0x17FF    // Khmer
        | 0x3040..=0x30FF    // Hiragana, Katakana
        | 0x3400..=0x4DBF    // Han
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0x2_0000..=0x3_FFFF
    )
}

/// In lower case, in order, repetitions included.
fn split(text: &str) -> impl Iterator<Item = String> {
    let pieces = text.split(|character: char| !character.is_alphanumeric());
    let pieces = pieces.filter(|piece| !piece.is_empty());
    pieces.flat_map(|piece| {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut length = 0;
        for character in piece.chars() {
            if stands_alone(character) {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                length = 0;
                words.push(character.to_string());
            } else if length < WORD_CHARS_MAX {
                word.extend(character.to_lowercase());
                length += 1;
            }
        }
        words.extend((!word.is_empty()).then_some(word));
        words
    })
}

/// Each word of a text with the number of times that it is there.
pub(crate) fn of_text(text: &str) -> BTreeMap<String, u32> {
    let mut words = BTreeMap::new();
    for word in split(text) {
        if let Some(count) = words.get_mut(&word) {
            *count += 1;
        } else if words.len() < WORDS_MAX {
            words.insert(word, 1);
        }
    }
    words
}

/// What is searched for: all of these words, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term(Vec<String>);

impl Term {
    /// `None` if there is nothing to search for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<String> = Vec::new();
        for word in split(text) {
            if words.len() < TERM_WORDS_MAX && !words.contains(&word) {
                words.push(word);
            }
        }
        // The longest is most likely the rarest, and is looked up first.
        words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
        (!words.is_empty()).then_some(Self(words))
    }

    pub(crate) fn words(&self) -> &[String] {
        &self.0
    }

    /// How well the text fits, above 0: often, and in few words. `None` if a word is missing.
    pub(crate) fn rank(&self, text: &str) -> Option<f64> {
        let words = of_text(text);
        let counts: Option<Vec<u32>> = self.0.iter().map(|word| words.get(word).copied()).collect();
        let met: u32 = counts?.into_iter().sum();
        let all: u32 = words.values().sum();
        Some(f64::from(met) / f64::from(all.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::{Term, of_text};

    #[test]
    fn all_words_have_to_be_there() {
        let text = "The Łódź-train, at 7: don't be LATE. 東京へ行く";
        for (term, expected) in [
            ("train", true),
            ("LATE the", true),
            ("łódź", true),
            ("7", true),
            ("don't", true),
            ("東京", true),
            ("行", true),
            ("trai", false),
            ("train bus", false),
            ("京都", false),
        ] {
            let term = Term::parse(term).expect("there is a word");
            assert_eq!(term.rank(text).is_some(), expected, "{term:?}");
        }
        for nothing in ["", " ", "?!", "-"] {
            assert_eq!(Term::parse(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn who_says_it_often_and_shortly_comes_first() {
        let term = Term::parse("cake").expect("a word");
        let rank = |text: &str| term.rank(text).expect("it is there");
        assert!(rank("cake") > rank("there is cake"));
        assert!(rank("cake cake") > rank("cake pie"));
        assert!(rank("a b c cake") > rank("a b c d e f g cake"));
    }

    #[test]
    fn a_text_has_few_words_however_long_it_is() {
        let long: String = (0..10_000).map(|number| format!("w{number} ")).collect();
        assert_eq!(of_text(&long).len(), 300);
        let word = "x".repeat(1000);
        assert!(of_text(&word).keys().all(|word| word.len() == 32));
        assert!(Term::parse(&word).expect("a word").rank(&word).is_some());
        assert_eq!(Term::parse(&long).expect("words").words().len(), 8);
    }
}
