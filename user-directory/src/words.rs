//! What a name is found by: the words that it is made of.

use std::collections::BTreeSet;

use ruma::UserId;

/// Words of a name that are indexed; a name of more is found by these.
const WORDS_MAX: usize = 16;
/// Of a word, this many characters are indexed and compared.
const WORD_CHARS_MAX: usize = 32;
/// Words of a search term that count.
const TERM_WORDS_MAX: usize = 8;

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect())
}

/// The words by which a user is found: of the localpart, of the whole localpart as one, and of the
/// display name.
pub(crate) fn of_user(user_id: &UserId, display_name: Option<&str>) -> BTreeSet<String> {
    let localpart = user_id.localpart();
    let whole: String = split(localpart).collect::<String>();
    let words = split(localpart).chain(display_name.into_iter().flat_map(split));
    let whole = whole.chars().take(WORD_CHARS_MAX).collect();
    std::iter::once(whole)
        .chain(words)
        .filter(|word: &String| !word.is_empty())
        .take(WORDS_MAX)
        .collect()
}

/// What is searched for: each word begins a word of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    words: Vec<String>,
    /// The beginning of the server's name, if a whole id or a part of one is searched for.
    server: Option<String>,
    /// As it was typed, in lower case.
    text: String,
}

impl Term {
    /// `None` if there is nothing to search for.
    pub(crate) fn parse(term: &str) -> Option<Self> {
        let text = term.trim().to_lowercase();
        let (name, server) = match text.strip_prefix('@') {
            Some(id) => match id.split_once(':') {
                Some((localpart, server)) => (localpart, Some(server.to_owned())),
                None => (id, None),
            },
            None => (&*text, None),
        };
        let words: Vec<String> = split(name).take(TERM_WORDS_MAX).collect();
        (!words.is_empty()).then(|| Self { words, server, text: text.clone() })
    }

    /// The word that most likely has the fewest users.
    pub(crate) fn rarest(&self) -> &str {
        self.words.iter().max_by_key(|word| word.len()).map_or("", String::as_str)
    }

    pub(crate) fn matches(&self, user_id: &UserId, display_name: Option<&str>) -> bool {
        let words = of_user(user_id, display_name);
        let begins = |part: &String| words.iter().any(|word| word.starts_with(&**part));
        let on_server = |server: &String| user_id.server_name().as_str().starts_with(&**server);
        self.words.iter().all(begins) && self.server.as_ref().is_none_or(on_server)
    }

    /// Whether it is the user's name, or the whole id.
    pub(crate) fn is_exactly(&self, user_id: &UserId, display_name: Option<&str>) -> bool {
        let is = |name: &str| name.to_lowercase() == self.text;
        is(user_id.as_str()) || is(user_id.localpart()) || display_name.is_some_and(is)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::{Term, of_user};

    #[test]
    fn a_term_finds_the_beginnings_of_words() {
        let user = user_id!("@ada.lovelace-1:example.org");
        let name = Some("Ada King, Countess of Łódź");
        for (term, expected) in [
            ("ada", true),
            ("AD", true),
            ("love", true),
            ("king ada", true),
            ("łó", true),
            ("ada.lovelace-1", true),
            ("adalovelace", true),
            ("@ada.lovelace-1:example.org", true),
            ("@ada:ex", true),
            ("@ada", true),
            (" countess ", true),
            ("@ada:other", false),
            ("da", false),
            ("king bob", false),
            ("example", false),
        ] {
            let found = Term::parse(term).expect("there is a word").matches(user, name);
            assert_eq!(found, expected, "{term}");
        }
        for nothing in ["", " ", "@", "-", "@:example.org"] {
            assert_eq!(Term::parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_name_has_few_words_however_long_it_is() {
        let long = "word ".repeat(1000) + &"x".repeat(1000);
        let words = of_user(user_id!("@ada:example.org"), Some(&long));
        assert!(words.len() <= 16 && words.iter().all(|word| word.chars().count() <= 32));
        let distinct: String = (0..1000).map(|number| format!("w{number} ")).collect();
        assert_eq!(of_user(user_id!("@ada:example.org"), Some(&distinct)).len(), 15);
    }

    #[test]
    fn what_is_typed_whole_is_exact() {
        let user = user_id!("@ada:example.org");
        for (term, expected) in
            [("ada", true), ("Ada King", true), ("@ADA:example.org", true), ("ad", false)]
        {
            let term = Term::parse(term).expect("there is a word");
            assert_eq!(term.is_exactly(user, Some("Ada King")), expected, "{term:?}");
        }
    }
}
